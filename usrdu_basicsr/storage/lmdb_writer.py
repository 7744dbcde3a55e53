"""Write LMDBs in BasicSR's format: encoded images by key, and `meta_info.txt`."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import lmdb

from usrdu_basicsr.storage.meta_info import META_INFO, key_of
from usrdu_basicsr.utils.errors import InputError
from usrdu_basicsr.utils.files import write_text

MAX_KEY_BYTES = 511
FIRST_MAP_SIZE = 2**28
COMMIT_BYTES = 2**26


class Value(NamedTuple):
    """Value of an LMDB.

    Attributes:
        content: Content of an image file or `.npy` file.
        shape: `(height, width, channels)`.
        extension: Extension of such a file.
        compression: PNG compression level, for `meta_info.txt`.
    """

    content: bytes
    shape: tuple[int, ...]
    extension: str
    compression: int


def check_key(name: str) -> str:
    """Return the key of a name without extension, with an InputError if it is too long for an LMDB."""
    key = key_of(name)
    if len(key) > MAX_KEY_BYTES:
        raise InputError(
            f'LMDB key of {name!r}: got {len(key)} bytes (3 for each byte outside ASCII), expected at most'
            f' {MAX_KEY_BYTES}. Shorten the name'
        )
    return key


class LmdbWriter:
    """Context manager that writes values, and their list when the block ends without an error.

    Args:
        folder: Output folder. The caller removes an incomplete LMDB after an error.
        map_size: First size limit of the LMDB in bytes, doubled whenever it is reached.
    """

    def __init__(self, folder: Path, map_size: int = FIRST_MAP_SIZE) -> None:
        self.folder = folder
        with self._write_errors():
            # No lock: no other process reads it yet. No sync: it is flushed to the disk once, at the end.
            self._environment = lmdb.open(str(folder), map_size=map_size, lock=False, sync=False)
        self._pending: list[tuple[bytes, bytes]] = []
        self._pending_bytes = 0
        self._lines: list[str] = []

    def __enter__(self) -> 'LmdbWriter':
        return self

    def put(self, name: str, value: Value) -> None:
        """Add a value by its name without extension, with an InputError for a too long name or a full disk."""
        key = check_key(name)
        self._pending.append((key.encode('ascii'), value.content))
        shape = ','.join(map(str, value.shape))
        self._lines.append(f'{key}{value.extension} ({shape}) {value.compression}\n')
        self._pending_bytes += len(value.content)
        if self._pending_bytes > COMMIT_BYTES:
            with self._write_errors():
                self._commit()

    def _commit(self) -> None:
        while self._pending:
            try:
                with self._environment.begin(write=True) as transaction:
                    transaction.cursor().putmulti(self._pending)
                self._pending, self._pending_bytes = [], 0
            except lmdb.MapFullError:
                self._environment.set_mapsize(2 * self._environment.info()['map_size'])

    @contextmanager
    def _write_errors(self) -> Iterator[None]:
        try:
            yield
        except lmdb.Error as error:
            raise InputError(f"cannot write LMDB '{self.folder}' ({error}). Check free disk space") from error

    def __exit__(self, error_type: type[BaseException] | None, *_: object) -> None:
        try:
            if error_type is None:
                with self._write_errors():
                    self._commit()
                    self._environment.sync(True)
                write_text(self.folder / META_INFO, ''.join(self._lines))
        finally:
            self._environment.close()
