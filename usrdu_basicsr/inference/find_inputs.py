"""Find the images named by files, folders and patterns."""

import glob
import itertools
import logging
import os
from collections.abc import Sequence
from pathlib import Path

from usrdu_basicsr.utils.errors import InputError, InputNotFoundError, first_few
from usrdu_basicsr.utils.files import input_folder
from usrdu_basicsr.utils.images import EXTENSIONS
from usrdu_basicsr.utils.result_records import RECORDS, ResultRecords

logger = logging.getLogger(__name__)


def find_inputs(sources: Sequence[str | Path], output: Path) -> dict[Path, Path]:
    """Find input images and the output subfolder of each, which mirrors its folder below a source.

    Hidden files, links to folders within a folder, and the output folder are ignored, and so are recorded results of
    any run, unless a source has no other images. Files that are not images are logged.

    Args:
        sources: Files, folders (searched recursively), and patterns such as `'scans/*.png'` (`**` for any depth).
        output: Folder for the results.

    Returns:
        Subfolder for each image, relative to `output`, in the order of `sources` and without duplicates.

    Raises:
        InputNotFoundError: If a file or folder does not exist, or a pattern has no match.
        InputError: If no image is found.
    """
    found: dict[str, tuple[Path, Path]] = {}  # image and its subfolder, by absolute path
    ignored: list[Path] = []
    output = output.resolve()
    for source in map(Path, sources):
        root, paths = _list_files(source)
        contains_output = root.resolve() in output.parents
        results = _recorded_results(root, paths)  # read after the files are listed
        others = [path for path in paths if path not in results]
        for path in others if any(map(_is_image, others)) else paths:
            if contains_output and output in path.resolve().parents:
                continue
            if not _is_image(path):
                ignored.append(path)
            else:
                found.setdefault(os.path.abspath(path), (path, path.relative_to(root).parent))
    if ignored:
        logger.warning('Ignored %d files that are not images or are broken links: %s', len(ignored), first_few(ignored))
    if not found:
        extensions = ', '.join(sorted(EXTENSIONS))
        raise InputError(f'no image found in {", ".join(map(str, sources))}: expected files ending in {extensions}')
    return dict(found.values())


def _list_files(source: Path) -> tuple[Path, list[Path]]:
    """The root folder of a source, and the files of the source."""
    if source.is_dir():
        return source, _list_folder(input_folder(source))
    if os.path.lexists(source):
        return source.parent, [source]
    root = Path(*itertools.takewhile(lambda part: not glob.has_magic(part), source.parts))
    matches = [path for path in map(Path, sorted(glob.glob(str(source), recursive=True))) if not _is_linked(path, root)]
    if not matches:
        raise InputNotFoundError(
            f"input '{source}' is no file, folder or pattern with a match. Relative paths start at '{Path.cwd()}'"
        )
    return root, [path for match in matches for path in (_list_folder(match) if match.is_dir() else [match])]


def _is_linked(path: Path, root: Path) -> bool:
    """Whether a path goes through a link to a folder below `root`. Loops of links would repeat images."""
    return any(parent.is_symlink() for parent in path.parents if root in parent.parents)


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in EXTENSIONS and path.is_file()


def _recorded_results(root: Path, paths: Sequence[Path]) -> set[Path]:
    """Results of earlier runs in the folders of files, up to their root folder."""
    folders = {folder for path in paths for folder in path.parents if folder == root or root in folder.parents}
    records = (folder for folder in folders if (folder / RECORDS).is_file())
    return {folder / name for folder in records for name in ResultRecords(folder, {}).records}


def _list_folder(folder: Path) -> list[Path]:
    paths = (path for path in sorted(folder.rglob('*')) if not path.is_dir())
    return [path for path in paths if not any(part.startswith('.') for part in path.relative_to(folder).parts)]
