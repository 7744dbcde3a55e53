"""Write LMDBs in BasicSR's format: encoded images by key, and `meta_info.txt`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

import lmdb

from usrdu_basicsr.storage.meta_info import META_INFO, key_of, meta_line
from usrdu_basicsr.utils.errors import InputError
from usrdu_basicsr.utils.files import write_text

LONGEST_KEY = 511  # bytes
FIRST_MAP_SIZE = 2**28
COMMIT_BYTES = 2**26  # what is written at once


class Value(NamedTuple):
    """What stands under a key."""

    content: bytes
    """Of an image file."""
    shape: tuple[int, ...]
    """(height, width, channels)."""
    extension: str
    """Of the file that it would be."""
    compression: int
    """As the list tells it; the level of a PNG."""


def check_key(name: str) -> str:
    """The key of a name without extension.

    Raises:
        InputError: It is too long for an LMDB.
    """
    key = key_of(name)
    if len(key) > LONGEST_KEY:
        raise InputError(
            f'name {name!r} makes a key of {len(key)} bytes (three for each byte outside ASCII), and those of an LMDB'
            f' have {LONGEST_KEY} at most: shorten it'
        )
    return key


class LmdbWriter:
    """Writes values, and at the end of its `with` block the list of them.

    Args:
        folder: To write into; the caller sees to it that no half LMDB stays there after an error.
        map_size: What the LMDB may hold at first; it is doubled whenever that is full.
    """

    def __init__(self, folder: Path, map_size: int = FIRST_MAP_SIZE) -> None:
        self.folder = folder
        with self._failure_told():
            # Nobody else reads it yet, and the disk is waited for once, at the end.
            self._environment = lmdb.open(str(folder), map_size=map_size, lock=False, sync=False)
        self._waiting: list[tuple[bytes, bytes]] = []
        self._waiting_bytes = 0
        self._lines: list[str] = []

    def __enter__(self) -> LmdbWriter:
        return self

    def put(self, name: str, value: Value) -> None:
        """Add a value under the key of a name without extension.

        Raises:
            InputError: The key is too long, or the disk is full.
        """
        key = check_key(name)
        self._waiting.append((key.encode('ascii'), value.content))
        self._lines.append(meta_line(key, value.extension, value.shape, value.compression))
        self._waiting_bytes += len(value.content)
        if self._waiting_bytes > COMMIT_BYTES:
            self._commit()

    def _commit(self) -> None:
        with self._failure_told():
            while self._waiting:
                try:
                    with self._environment.begin(write=True) as transaction:
                        for key, content in self._waiting:
                            transaction.put(key, content)
                    self._waiting, self._waiting_bytes = [], 0
                except lmdb.MapFullError:
                    self._environment.set_mapsize(2 * self._environment.info()['map_size'])

    @contextmanager
    def _failure_told(self) -> Iterator[None]:
        try:
            yield
        except lmdb.Error as error:
            raise InputError(f"cannot write LMDB '{self.folder}': is the disk full? ({error})") from error

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            if error is None:
                self._commit()
                with self._failure_told():
                    self._environment.sync(True)
                write_text(self.folder / META_INFO, ''.join(self._lines))
        finally:
            self._environment.close()
