"""Read LMDBs in BasicSR's format: encoded images by key, and `meta_info.txt`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import unquote

import lmdb
import numpy as np

from usrdu_basicsr.storage.formats import Format
from usrdu_basicsr.storage.lmdb_environments import LMDB_DATA_FILE, open_environment
from usrdu_basicsr.storage.meta_info import FILE_NAME_ERRORS, META_INFO, key_of, read_meta_info
from usrdu_basicsr.storage.source import Source
from usrdu_basicsr.utils.errors import InputError
from usrdu_basicsr.utils.files import input_folder


class LmdbSource(Source):
    """Values of an LMDB, opened by each process for itself when it first reads.

    Args:
        root: The LMDB's folder.
        file_format: What the values hold.
        listed: Names to take, with or without extension; None for all.

    Raises:
        InputNotFoundError: There is no such folder, or no `meta_info.txt` in it.
        InputError: It is not an LMDB, is cut short, or lacks what is listed.
    """

    def __init__(self, root: Path, file_format: Format, listed: Sequence[str] | None) -> None:
        self.root = input_folder(root)
        self.format = file_format
        entries = {os.path.splitext(entry.name)[0]: entry for entry in read_meta_info(root / META_INFO)}
        if listed is not None:
            keys = [key if (key := os.path.splitext(name)[0]) in entries else key_of(key) for name in listed]
            if missing := [name for key, name in zip(keys, listed, strict=True) if key not in entries]:
                raise InputError(f"LMDB '{root}' lacks {missing[0]!r} ({len(missing)} of {len(listed)} in all)")
            entries = {key: entries[key] for key in keys}
        self.keys = np.array(list(entries))  # as they stand in the LMDB
        if bare := [entry.name for entry in entries.values() if entry.size is None]:
            raise InputError(f"'{root / META_INFO}' does not say the size of {bare[0]!r}: expected NAME.png (H,W,C) 1")
        self.sizes = np.array([entry.size for entry in entries.values()])
        self._check_whole()

    def _check_whole(self) -> None:
        environment = open_environment(self.root)
        pages = (environment.info()['last_pgno'] + 1) * environment.stat()['psize']
        values = environment.stat()['entries']
        size = (self.root / LMDB_DATA_FILE).stat().st_size
        # Reading behind the end of the file would end the process.
        if size < pages:
            raise InputError(f"LMDB '{self.root}' is cut short: {size} of {pages} bytes; create or copy it again")
        if values < len(self.keys):
            raise InputError(
                f"LMDB '{self.root}' holds {values} values, its {META_INFO} names {len(self.keys)}: create it again"
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
            raise InputError(f"cannot read '{self.name(index)}': create the LMDB again ({error})") from error
        if value is None:
            raise InputError(f"LMDB '{self.root}' lacks {str(self.keys[index])!r}, which its {META_INFO} names")
        return value
