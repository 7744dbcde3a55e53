"""Find the images that a user names: files, folders with all below them, patterns."""

from __future__ import annotations

import glob
import logging
from collections.abc import Iterable, Sequence
from pathlib import Path

from usrdu_basicsr.errors import InputError, InputNotFoundError
from usrdu_basicsr.files import input_folder
from usrdu_basicsr.images import EXTENSIONS

logger = logging.getLogger(__name__)


def find_inputs(sources: Sequence[str | Path], output: Path) -> dict[Path, Path]:
    """The images that are meant, and the subfolder that the result of each goes to, relative to the output.

    Hidden files, and results of an earlier run below a folder, are left out; files that are no images are told of.

    Args:
        sources: Files, folders (taken with their subfolders), patterns such as `'scans/*.png'` (`**` for any depth).
        output: The folder for the results.

    Raises:
        InputNotFoundError: A file or folder does not exist, or a pattern fits none.
        InputError: No image is among them.
    """
    found: dict[Path, Path] = {}
    others: list[Path] = []
    output = output.resolve()
    for source in map(Path, sources):
        named = source.is_file() or (source.is_dir() and source.resolve() not in output.parents)
        for path, below in _files(source):
            if not named and output in path.resolve().parents:
                continue
            if path.suffix.lower() in EXTENSIONS:
                found.setdefault(path, below)
            else:
                others.append(path)
    if others:
        names = ', '.join(f"'{path}'" for path in others[:3]) + (', ...' if len(others) > 3 else '')
        logger.warning('%d files are no images by their endings and are left out: %s', len(others), names)
    if not found:
        endings = ', '.join(sorted(EXTENSIONS))
        raise InputError(f'no image in {", ".join(map(str, sources))}: expected files ending in {endings}')
    return found


def _files(source: Path) -> Iterable[tuple[Path, Path]]:
    """Files of a source, each with its folder below the source."""
    if source.is_file():
        return [(source, Path())]
    if source.is_dir():
        folder = input_folder(source)
        below = ((path, path.relative_to(folder)) for path in sorted(folder.rglob('*')) if path.is_file())
        return [(path, short.parent) for path, short in below if not any(part.startswith('.') for part in short.parts)]
    matches = sorted(map(Path, glob.glob(str(source), recursive=True)))
    if not matches:
        raise InputNotFoundError(
            f"no file, folder or pattern that fits anything: '{source}'; check the path, which is relative to"
            f" '{Path.cwd()}'"
        )
    return [each for match in matches for each in _files(match)]
