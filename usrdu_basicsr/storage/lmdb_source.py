"""Read LMDBs in BasicSR's format: encoded images by key, and `meta_info.txt`."""

import os
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import unquote

import lmdb
import numpy as np

from usrdu_basicsr.storage.meta_info import FILE_NAME_ERRORS, META_INFO, key_of, read_meta_info
from usrdu_basicsr.storage.source import Format, Source
from usrdu_basicsr.utils.errors import InputError
from usrdu_basicsr.utils.files import input_folder

LMDB_DATA_FILE = 'data.mdb'
# Open environments by path, with the inode of the data file: another process may replace the LMDB.
_environments: dict[str, tuple[int, lmdb.Environment]] = {}


def open_environment(path: str | Path) -> lmdb.Environment:
    """Open an LMDB for reading, with an InputError if that fails. LMDB allows one environment per path and process."""
    resolved = os.path.realpath(path)
    try:
        inode = os.stat(os.path.join(resolved, LMDB_DATA_FILE)).st_ino
        opened_inode, environment = _environments.get(resolved, (None, None))
        if environment is None or opened_inode != inode:  # the old environment stays open for threads that read it
            environment = lmdb.open(resolved, readonly=True, lock=False, readahead=False, create=False)
            _environments[resolved] = inode, environment
    except (lmdb.Error, OSError) as error:
        raise InputError(f"cannot open LMDB '{path}' ({error}). Create it again") from error
    return environment


def _close_inherited() -> None:
    """Close the environments of the parent process, which LMDB does not allow in a forked process."""
    for _, environment in _environments.values():
        environment.close()
    _environments.clear()


if hasattr(os, 'register_at_fork'):  # not on Windows
    os.register_at_fork(after_in_child=_close_inherited)


class LmdbSource(Source):
    """Values of an LMDB. Each process opens the LMDB when it first reads from it.

    Args:
        root: Path of the LMDB.
        file_format: Format of the values.
        listed: Names to read, with or without extension; None for all.

    Raises:
        InputNotFoundError: If the folder or its `meta_info.txt` does not exist.
        InputError: If it is not an LMDB, is truncated, or lacks a listed name.
    """

    def __init__(self, root: Path, file_format: Format, listed: Sequence[str] | None) -> None:
        self.root = input_folder(root)
        self.format = file_format
        entries = {os.path.splitext(name)[0]: (name, size) for name, size in read_meta_info(root / META_INFO).items()}
        if listed is not None:
            keys = [key if (key := os.path.splitext(name)[0]) in entries else key_of(key) for name in listed]
            if missing := [name for key, name in zip(keys, listed, strict=True) if key not in entries]:
                raise InputError(
                    f"LMDB '{root}' lacks {len(missing)} of {len(listed)} listed names, such as {missing[0]!r}"
                )
            entries = {key: entries[key] for key in keys}
        self.keys = np.array(list(entries))
        if unsized := [name for name, size in entries.values() if size is None]:
            raise InputError(f"'{root / META_INFO}': {unsized[0]!r} has no size, expected NAME.png (H,W,C) 1")
        self.sizes = np.array([size for _, size in entries.values()])
        self._check_complete()

    def _check_complete(self) -> None:
        """Refuse a truncated LMDB: reading past the end of the file would kill the process."""
        environment = open_environment(self.root)
        expected = (environment.info()['last_pgno'] + 1) * environment.stat()['psize']
        size = (self.root / LMDB_DATA_FILE).stat().st_size
        if size < expected:
            raise InputError(f"LMDB '{self.root}' is truncated: got {size} bytes, expected {expected}. Copy it again")
        values = environment.stat()['entries']
        if values < len(self.keys):
            raise InputError(
                f"LMDB '{self.root}': got {values} values, expected {len(self.keys)} as in {META_INFO}. Create it again"
            )

    def __len__(self) -> int:
        return len(self.keys)

    def stems(self) -> list[str]:
        return [unquote(key, errors=FILE_NAME_ERRORS) for key in self.keys.tolist()]

    def name(self, index: int) -> str:
        return str(self.root / str(self.keys[index]))

    def size(self, index: int) -> tuple[int, int]:
        height, width = self.sizes[index]
        return int(height), int(width)

    def content(self, index: int) -> bytes:
        try:
            with open_environment(self.root).begin() as transaction:
                value = transaction.get(str(self.keys[index]).encode())
        except lmdb.Error as error:
            raise InputError(f"cannot read '{self.name(index)}' ({error}). Create the LMDB again") from error
        if value is None:
            raise InputError(
                f"LMDB '{self.root}' lacks {str(self.keys[index])!r}, which its {META_INFO} lists. Create it again"
            )
        return value
