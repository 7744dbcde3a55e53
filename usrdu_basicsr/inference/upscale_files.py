"""Upscale files, reading and writing some while the network runs."""

from __future__ import annotations

import errno
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

from usrdu_basicsr.inference.find_inputs import find_inputs
from usrdu_basicsr.inference.image_file import FORMATS, ImageFile, read_image_file, write_image_file
from usrdu_basicsr.inference.pixels import scaled_size
from usrdu_basicsr.utils.errors import InputError, WriteError
from usrdu_basicsr.utils.files import output_folder
from usrdu_basicsr.utils.images import image_size

logger = logging.getLogger(__name__)
# Errors of writing that the next image would meet too: a full disk or quota, a disk that cannot be written
DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
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
    scale: float | None = None,
    overwrite: bool = False,
    workers: int = 2,
    share: tuple[int, int] = (0, 1),
) -> UpscaleReport:
    """Upscale images to a folder, which gets the subfolders of the input.

    Depth, gray, transparency and colour profile are kept, EXIF orientation is applied. Results that are there and not
    older than the input are skipped. A file that cannot be read or written is logged, and the others go on.

    Args:
        upscale: See `Upscaler.__call__`.
        sources: See `find_inputs`.
        output: Folder, made if missing.
        naming: Of the results.
        newer_than: Time of the network's file: older results are made anew.
        scale: Of the results, if known: those of another size are made anew.
        overwrite: Make all anew.
        workers: Threads that read, and as many that write; so many images and so many results are in memory at most.
        share: This process's rank, and how many there are: each takes its share of the images.

    Returns:
        Which images were written, skipped and failed.

    Raises:
        InputNotFoundError: An input does not exist.
        InputError: No image is among the inputs; two results would share a name, or one replace its input.
        WriteError: The disk is full or cannot be written.
    """
    output, naming = output_folder(output), naming or Naming()
    targets = _targets(find_inputs(sources, output), output, naming)
    report = UpscaleReport()
    todo = []
    for path in list(targets)[share[0] :: share[1]]:
        if not overwrite and _is_there(path, targets[path], newer_than, scale):
            report.skipped.append(str(path))
        else:
            todo.append(path)

    with ThreadPoolExecutor(workers) as readers, ThreadPoolExecutor(workers) as writers:
        reading = _ahead(((path, readers.submit(read_image_file, path)) for path in todo), workers)

        def writing() -> Iterator[tuple[Path, Future[None]]]:
            for path, future in reading:
                with _failing(path, report):
                    picture = future.result()
                    result = _integers(upscale(picture.pixels))
                    yield path, writers.submit(write_image_file, targets[path], ImageFile(result, picture.icc_profile))
                    del picture, result  # while the next one is made

        for path, future in tqdm(_ahead(writing(), workers), unit='image', total=len(todo), disable=share[0] != 0):
            with _failing(path, report):
                future.result()
                report.written.append(str(path))
    return report


def _is_there(path: Path, target: Path, newer_than: float, scale: float | None) -> bool:
    """Whether an image's result is there, newer than the image and the network, and of the right size."""
    if not target.is_file() or target.stat().st_mtime < max(path.stat().st_mtime, newer_than):
        return False
    try:
        size, result = image_size(path), image_size(target)
    except InputError:
        return False
    return scale is None or result == scaled_size(size, scale)


def _targets(inputs: Mapping[Path, Path], output: Path, naming: Naming) -> dict[Path, Path]:
    """The file for the result of each input.

    Raises:
        InputError: Two are one, or one is an input.
    """
    targets = {path: output / below / naming.of(path) for path, below in inputs.items()}
    if naming.suffix:  # results beside their images, of an earlier run
        results = {target.resolve() for target in targets.values()}
        targets = {path: target for path, target in targets.items() if path.resolve() not in results}
    sources = {path.resolve() for path in targets}
    origins: dict[Path, Path] = {}
    for path, target in targets.items():
        if target in origins:
            other = origins[target]
            remedy = 'name the folder above both, or rename one'
            if naming.ext != 'auto' and path.suffix.lower() != other.suffix.lower():
                remedy = 'use --ext auto, or rename one'
            raise InputError(f"the results of '{other}' and '{path}' would both be '{target}': {remedy}")
        if target.resolve() in sources:
            raise InputError(f"'{target}' is an input, which the result would replace: name another folder or a suffix")
        origins[target] = path
    return targets


def _ahead(pairs: Iterable[tuple[Path, Future[Result]]], count: int) -> Iterator[tuple[Path, Future[Result]]]:
    """The same pairs, of which up to `count` are begun at a time."""
    pending: deque[tuple[Path, Future[Result]]] = deque()
    for pair in pairs:
        pending.append(pair)
        if len(pending) >= count:
            yield pending.popleft()
    yield from pending


@contextmanager
def _failing(path: Path, report: UpscaleReport) -> Iterator[None]:
    """Log and note an image that cannot be read, upscaled or written; others go on."""
    try:
        yield
    except (InputError, WriteError, MemoryError) as error:
        if isinstance(error.__cause__, OSError) and error.__cause__.errno in DISK_ERRORS:
            raise
        reason = f'does not fit into memory ({error})' if isinstance(error, MemoryError) else str(error)
        logger.error('%s', reason if str(path) in reason else f"'{path}': {reason}")
        report.failed.append(str(path))


def _integers(pixels: np.ndarray) -> np.ndarray:
    """What files can hold: floating point becomes 16 bits."""
    return (pixels * 65535).round().astype(np.uint16) if pixels.dtype.kind == 'f' else pixels
