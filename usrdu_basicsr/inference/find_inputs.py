"""Find the images that a user names: files, folders with all below them, patterns."""

from __future__ import annotations

import glob
import itertools
import logging
import os
from collections.abc import Sequence
from pathlib import Path

from usrdu_basicsr.utils.errors import InputError, InputNotFoundError
from usrdu_basicsr.utils.files import input_folder
from usrdu_basicsr.utils.images import EXTENSIONS

logger = logging.getLogger(__name__)


def find_inputs(sources: Sequence[str | Path], output: Path) -> dict[Path, Path]:
    """The images that are meant, and the subfolder that the result of each goes to, relative to the output.

    That is its folder below the one named, or below the fixed part of a pattern. Hidden files, links to folders within
    a folder, and results of an earlier run, in an output below a folder, are left out; what is no image is told of.

    Args:
        sources: Files, folders (taken with their subfolders), patterns such as `'scans/*.png'` (`**` for any depth).
        output: The folder for the results.

    Raises:
        InputNotFoundError: A file or folder does not exist, or a pattern fits none.
        InputError: No image is among them.
    """
    found: dict[Path, Path] = {}
    seen: set[str] = set()
    others: list[Path] = []
    output = output.resolve()
    for source in map(Path, sources):
        root, paths = _files(source)
        inside = root.resolve() in output.parents
        for path in paths:
            if inside and output in path.resolve().parents:
                continue
            if path.suffix.lower() not in EXTENSIONS or not path.is_file():
                others.append(path)
            elif (place := os.path.abspath(path)) not in seen:
                seen.add(place)
                found[path] = path.relative_to(root).parent
    if others:
        names = ', '.join(f"'{path}'" for path in others[:3]) + (', ...' if len(others) > 3 else '')
        logger.warning('%d files are no images, or links to nothing, and are left out: %s', len(others), names)
    if not found:
        endings = ', '.join(sorted(EXTENSIONS))
        raise InputError(f'no image in {", ".join(map(str, sources))}: expected files ending in {endings}')
    return found


def _files(source: Path) -> tuple[Path, list[Path]]:
    """The folder that a source stands for, and what is in it that is no folder."""
    if source.is_dir():
        return source, _below(input_folder(source))
    if os.path.lexists(source):
        return source.parent, [source]
    fixed = list(itertools.takewhile(lambda part: not glob.has_magic(part), source.parts))
    matches = [Path(match) for match in sorted(glob.glob(str(source), recursive=True))]
    if not matches:
        raise InputNotFoundError(
            f"no file, folder or pattern that fits anything: '{source}'; check the path, which is relative to"
            f" '{Path.cwd()}'"
        )
    return Path(*fixed), [path for match in matches for path in (_below(match) if match.is_dir() else [match])]


def _below(folder: Path) -> list[Path]:
    paths = (path for path in sorted(folder.rglob('*')) if not path.is_dir())
    return [path for path in paths if not any(part.startswith('.') for part in path.relative_to(folder).parts)]
