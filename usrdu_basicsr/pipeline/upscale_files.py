"""Upscale files, reading and writing some while the network runs."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import numpy as np
from tqdm import tqdm

from usrdu_basicsr.errors import InputError
from usrdu_basicsr.files import output_folder
from usrdu_basicsr.picture import FORMATS, Picture, read_picture, write_picture
from usrdu_basicsr.pipeline.find_inputs import find_inputs

logger = logging.getLogger(__name__)
Item = TypeVar('Item')
Result = TypeVar('Result')


@dataclass
class UpscaleReport:
    """What became of the images, by path."""

    written: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Naming:
    """Names of results: `NAME` + `suffix` + `.ext`.

    Attributes:
        suffix: May be empty.
        ext: `png`, `jpg`, `webp`, or `auto` for the input's own where it is one of these, otherwise png.
    """

    suffix: str = ''
    ext: str = 'png'

    def __post_init__(self) -> None:
        if self.ext != 'auto' and f'.{self.ext}' not in FORMATS:
            raise InputError(f'ext: got {self.ext!r}, expected auto, png, jpg or webp')
        if Path(self.suffix).name != self.suffix and self.suffix:
            raise InputError(f'suffix: got {self.suffix!r}, expected a part of a file name')

    def of(self, path: Path) -> str:
        """The name of the result for an image."""
        own = path.suffix if path.suffix.lower() in FORMATS else '.png'
        return f'{path.stem}{self.suffix}{own if self.ext == "auto" else "." + self.ext}'


def upscale_files(
    upscale: Callable[[np.ndarray], np.ndarray],
    sources: Sequence[str | Path],
    output: str | Path,
    naming: Naming | None = None,
    newer_than: float = 0,
    overwrite: bool = False,
    workers: int = 2,
    share: tuple[int, int] = (0, 1),
) -> UpscaleReport:
    """Upscale images to a folder, which gets the subfolders of the input.

    Depth, gray, transparency and colour profile are kept, EXIF orientation is applied. Results that are there and not
    older than the input are skipped. A file that cannot be read is logged, and the others go on.

    Args:
        upscale: See `Upscaler.__call__`.
        sources: See `find_inputs`.
        output: Folder, made if missing.
        naming: Of the results.
        newer_than: Time of the network's file: older results are made anew.
        overwrite: Make all anew.
        workers: Threads that read, and as many that write; so many images are kept ready.
        share: This process's rank, and how many there are: each takes its share of the images.

    Returns:
        Which images were written, skipped and failed.

    Raises:
        InputNotFoundError: An input does not exist.
        InputError: No image is among the inputs; two results would share a name, or one replace its input.
        WriteError: A result cannot be written, the disk being full, say.
    """
    output, naming = output_folder(output), naming or Naming()
    targets = _targets(find_inputs(sources, output), output, naming)
    report = UpscaleReport()
    todo = []
    for path, target in list(targets.items())[share[0] :: share[1]]:
        there = target.is_file() and target.stat().st_mtime >= max(path.stat().st_mtime, newer_than)
        if there and not overwrite:
            report.skipped.append(str(path))
        else:
            todo.append(path)

    with ThreadPoolExecutor(workers) as readers, ThreadPoolExecutor(workers) as writers:
        reading = _ahead(lambda path: readers.submit(read_picture, path), todo, workers)

        def results() -> Iterator[tuple[Path, Picture]]:
            for path, future in reading:
                with _failing(path, report):
                    picture = future.result()
                    yield path, Picture(_integers(upscale(picture.pixels)), picture.icc_profile)

        writing = _ahead(lambda each: writers.submit(write_picture, targets[each[0]], each[1]), results(), workers)
        for (path, _), future in tqdm(writing, unit='image', total=len(todo), disable=share[0] != 0):
            with _failing(path, report):
                future.result()
                report.written.append(str(path))
    return report


def _targets(inputs: Mapping[Path, Path], output: Path, naming: Naming) -> dict[Path, Path]:
    """The file for the result of each input.

    Raises:
        InputError: Two are one, or one is an input.
    """
    targets: dict[Path, Path] = {}
    origins: dict[Path, Path] = {}
    sources = {path.resolve() for path in inputs}
    for path, below in inputs.items():
        target = output / below / naming.of(path)
        if target in origins:
            both = f"'{origins[target]}' and '{path}'"
            raise InputError(f"the results of {both} would both be '{target}': rename one, or use --ext auto")
        if target.resolve() in sources:
            raise InputError(f"'{target}' is an input, which the result would replace: name another folder or a suffix")
        targets[path], origins[target] = target, path
    return targets


def _ahead(
    submit: Callable[[Item], Future[Result]], items: Iterable[Item], count: int
) -> Iterator[tuple[Item, Future[Result]]]:
    """Items with their futures, in order, while up to `count` that follow are worked on."""
    pending: deque[tuple[Item, Future[Result]]] = deque()
    for item in items:
        pending.append((item, submit(item)))
        if len(pending) > count:
            yield pending.popleft()
    yield from pending


@contextmanager
def _failing(path: Path, report: UpscaleReport) -> Iterator[None]:
    """Log and note an image that cannot be read, upscaled or written; others go on."""
    try:
        yield
    except (InputError, MemoryError) as error:
        logger.error('%s', error if isinstance(error, InputError) else f"'{path}' does not fit into memory ({error})")
        report.failed.append(str(path))


def _integers(pixels: np.ndarray) -> np.ndarray:
    """What files can hold: floating point becomes 16 bits."""
    return (pixels * 65535).round().astype(np.uint16) if pixels.dtype.kind == 'f' else pixels
