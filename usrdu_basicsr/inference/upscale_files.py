"""Upscale image files. With at least two workers, threads read and write images while the network runs."""

import errno
import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from tqdm import tqdm

from usrdu_basicsr.inference.find_inputs import find_inputs
from usrdu_basicsr.inference.image_file import FORMATS, ImageFile, read_image_file, write_image_file
from usrdu_basicsr.utils.errors import InputError, WriteError
from usrdu_basicsr.utils.file_report import FileReport
from usrdu_basicsr.utils.files import output_folder
from usrdu_basicsr.utils.result_records import ResultRecords, file_identity

logger = logging.getLogger(__name__)
FATAL_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)  # disk full, quota exceeded, read-only: every image fails
Item = TypeVar('Item')


@dataclass(frozen=True)
class Naming:
    """File names of results: `NAME` + `suffix` + `.ext`.

    Attributes:
        suffix: Suffix of the stem, may be empty.
        ext: `png`, `jpg`, `webp`, or `auto` for the extension of the input if it is one of these, otherwise png.
    """

    suffix: str = ''
    ext: str = 'png'

    def __post_init__(self) -> None:
        if self.ext != 'auto' and f'.{self.ext}' not in FORMATS:
            raise InputError(f'ext: got {self.ext!r}, expected auto, png, jpg or webp')
        if self.suffix and Path(self.suffix).name != self.suffix:
            raise InputError(f'suffix: got {self.suffix!r}, expected a part of a file name')

    def file_name(self, path: Path) -> str:
        """File name of the result for an image."""
        auto = path.suffix if path.suffix.lower() in FORMATS else '.png'
        return f'{path.stem}{self.suffix}{auto if self.ext == "auto" else "." + self.ext}'


def upscale_files(
    upscale: Callable[[np.ndarray], np.ndarray],
    sources: Sequence[str | Path],
    output: str | Path,
    naming: Naming | None = None,
    settings: Mapping[str, Any] | None = None,
    overwrite: bool = False,
    workers: int = 2,
    share: tuple[int, int] = (0, 1),
) -> FileReport:
    """Upscale images into a folder that mirrors the subfolders of the input.

    Bit depth, gray, transparency and colour profile are preserved; EXIF orientation is applied. Existing results of the
    same input files and settings are skipped. Files that cannot be read or written are logged, and the run continues.

    Args:
        upscale: See `Upscaler.__call__`.
        sources: See `find_inputs`.
        output: Folder for the results, created if missing.
        naming: File names of the results.
        settings: Settings that determine the results, as JSON values; results of other settings are recomputed.
        overwrite: Recompute all existing results, and replace other existing files that are not inputs.
        workers: Number of reading threads and of writing threads. As many images and results are in memory at most.
            With 1, each image is read, upscaled and written before the next one.
        share: Rank of this process and number of processes, which divide the images among them.

    Raises:
        InputNotFoundError: If an input does not exist.
        InputError: If there is no input image, two results have the same path, or a result would replace an input or,
            without `overwrite`, a file that no earlier run recorded as a result.
        WriteError: If the disk is full or read-only.
    """
    output, naming = output_folder(output), naming or Naming()
    subfolders = find_inputs(sources, output)
    targets = {path: output / subfolder / naming.file_name(path) for path, subfolder in subfolders.items()}
    existing = set(filter(Path.is_file, targets.values()))
    # Read after the files are listed, because other processes record a result before they write it
    records = ResultRecords(output, settings or {})
    recorded = {path for path in targets.values() if records.is_known(path.relative_to(output).as_posix())}
    if naming.suffix:  # results of results, which are inputs if there is nothing else
        results = {path.resolve() for path in recorded}
        targets = {path: target for path, target in targets.items() if path.resolve() not in results}
    _check_targets(targets, naming, set() if overwrite else existing - recorded)
    paths = list(targets)[share[0] :: share[1]]
    identities = {path: file_identity(path) for path in paths}

    def name(path: Path) -> str:
        return targets[path].relative_to(output).as_posix()

    def identity(path: Path) -> dict[str, Any]:
        """Identity of an image and size of its result."""
        return identities[path] | {'result_bytes': file_identity(targets[path])['bytes']}

    def is_current(path: Path) -> bool:
        return targets[path].is_file() and records.matches(name(path), identity(path))

    current = set() if overwrite else set(filter(is_current, paths))
    report = FileReport(skipped=[str(path) for path in paths if path in current])
    todo = [path for path in paths if path not in current]

    with ThreadPoolExecutor(workers) as readers, ThreadPoolExecutor(workers) as writers:
        reads = _prefetch(((path, readers.submit(read_image_file, path)) for path in todo), workers)

        def start_writes() -> Iterator[tuple[Path, Future[None]]]:
            for path, future in reads:
                with _report_failure(path, report):
                    image = future.result()
                    pixels = upscale(image.pixels)
                    if pixels.dtype.kind == 'f':
                        pixels = (pixels * 65535).round().astype(np.uint16)
                    records.begin(name(path))
                    yield path, writers.submit(write_image_file, targets[path], ImageFile(pixels, image.icc_profile))
                    del image, pixels  # free them before the next image is upscaled

        writes = _prefetch(start_writes(), workers)
        for path, future in tqdm(writes, unit='image', total=len(todo), disable=share[0] != 0):
            with _report_failure(path, report):
                future.result()
                records.add(name(path), identity(path))
                report.written.append(str(path))
    return report


def _check_targets(targets: Mapping[Path, Path], naming: Naming, unknown: Set[Path]) -> None:
    """Raise an `InputError` if two images have the same result, or one would replace an input or an unknown file."""
    inputs = {path.resolve() for path in targets}
    origins: dict[Path, Path] = {}
    for path, target in targets.items():
        if (other := origins.setdefault(target, path)) is not path:
            same_format = naming.ext == 'auto' or path.suffix.lower() == other.suffix.lower()
            remedy = 'Pass the common parent folder' if same_format else 'Use --ext auto'
            raise InputError(f"results of '{other}' and '{path}' would both be '{target}'. {remedy}, or rename one")
        if target.resolve() in inputs:
            remedy = 'Choose another folder or suffix, or remove it if it is an old result'
            raise InputError(f"result '{target}' of '{path}' would replace an input. {remedy}")
        if target in unknown:
            remedy = 'Choose another folder or suffix, or pass --overwrite if it is an old result'
            raise InputError(f"result '{target}' of '{path}' would replace a file that is no recorded result. {remedy}")


def _prefetch(items: Iterable[Item], count: int) -> Iterator[Item]:
    """Iterate over items, here submitted futures, and take up to `count` of them ahead."""
    pending: deque[Item] = deque()
    for item in items:
        pending.append(item)
        if len(pending) >= count:
            yield pending.popleft()
    yield from pending


@contextmanager
def _report_failure(path: Path, report: FileReport) -> Iterator[None]:
    """Log and record an image that cannot be read, upscaled or written, unless every other image would fail too."""
    try:
        yield
    except (InputError, WriteError, MemoryError) as error:
        if isinstance(error.__cause__, OSError) and error.__cause__.errno in FATAL_ERRORS:
            raise
        reason = f'out of memory ({error})' if isinstance(error, MemoryError) else str(error)
        logger.error('%s', reason if str(path) in reason else f"'{path}': {reason}")
        report.failed.append(str(path))
