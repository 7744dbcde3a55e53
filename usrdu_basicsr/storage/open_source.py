"""Open a folder, the files of a folder that a list names, or an LMDB: all read alike."""

from __future__ import annotations

from pathlib import Path

from usrdu_basicsr.storage.folder_source import FolderSource
from usrdu_basicsr.storage.formats import Format
from usrdu_basicsr.storage.lmdb_source import LmdbSource
from usrdu_basicsr.storage.meta_info import read_meta_info
from usrdu_basicsr.storage.source import Source
from usrdu_basicsr.utils.files import input_folder, list_files

LMDB_SUFFIX = '.lmdb'


def lmdb_beside(folder: Path) -> Path:
    """`FOLDER.lmdb`, beside the folder."""
    folder = folder if folder.name not in ('', '..') else folder.resolve()
    return folder.with_name(folder.name + LMDB_SUFFIX)


def open_source(root: str | Path, file_format: Format, meta_info_file: str | Path | None = None) -> Source:
    """What a `dataroot_*` option names.

    Args:
        root: A folder, or an LMDB, whose name ends in `.lmdb`.
        file_format: What it holds.
        meta_info_file: List of the names to take; without it all, of a folder in the order of their names.

    Raises:
        InputNotFoundError: There is no such folder, LMDB or list.
        InputError: It holds nothing of this format, or an LMDB not what the list names. Files that a list names and
            that are not there are told of when they are looked at.
    """
    root = Path(root).expanduser()
    listed = None if meta_info_file is None else [entry.name for entry in read_meta_info(meta_info_file)]
    if root.suffix == LMDB_SUFFIX:
        return LmdbSource(root, file_format, listed)
    folder = input_folder(root)
    if listed is None:
        listed = [path.name for path in list_files(folder, file_format.extensions, file_format.noun)]
    return FolderSource(folder, listed, file_format)
