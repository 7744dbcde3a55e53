"""Access by index to stored images and log-scale maps."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence, Sized
from pathlib import Path, PurePosixPath
from typing import NamedTuple, TypeVar

import numpy as np

from usrdu_basicsr.storage.generated_set import decode_log_scale, log_scale_size
from usrdu_basicsr.utils.errors import UserError
from usrdu_basicsr.utils.files import read_bytes
from usrdu_basicsr.utils.images import EXTENSIONS, decode_image, image_size

LISTED_ERRORS = 10
T = TypeVar('T')


class Format(NamedTuple):
    """File format of arrays `(H, W, 3)`.

    Attributes:
        noun: Name of one array in messages.
        extensions: Extensions of the files, in lower case.
        size: Function that returns `(height, width)` of a file.
        decode: Function that decodes the content of a file; its second argument is the name for messages.
    """

    noun: str
    extensions: frozenset[str]
    size: Callable[[Path], tuple[int, int]]
    decode: Callable[[bytes, str], np.ndarray]


IMAGE = Format('image', EXTENSIONS, image_size, decode_image)
LOG_SCALE = Format('log-scale map', frozenset({'.npy'}), log_scale_size, decode_log_scale)


class Source(ABC):
    """Sequence of arrays `(H, W, 3)` in a folder or an LMDB.

    Names are stored in NumPy arrays, not in lists of Python objects: reading a Python object changes its reference
    count, which copies the memory that data workers share.

    Attributes:
        root: Path of the folder or LMDB.
        format: Format of the arrays.
    """

    root: Path
    format: Format

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def stems(self) -> list[str]:
        """Names without extension, in order."""

    @abstractmethod
    def name(self, index: int) -> str:
        """Path of the file, or path of the LMDB followed by the key."""

    @abstractmethod
    def size(self, index: int) -> tuple[int, int]:
        """Return `(height, width)` without decoding, with an InputError if the file is unreadable or incomplete."""

    @abstractmethod
    def content(self, index: int) -> bytes:
        """Return the content of the file, with an InputError if it is missing or unreadable."""

    def read(self, index: int) -> np.ndarray:
        """Decode an array in the bit depth of the file, with an InputError if it is missing or corrupt."""
        return self.format.decode(self.content(index), self.name(index))


class FolderSource(Source):
    """Files of a folder.

    Args:
        root: Path of the folder.
        names: Paths of the files, relative to the folder.
        file_format: Format of the files.
    """

    def __init__(self, root: Path, names: Sequence[str], file_format: Format) -> None:
        self.root = root
        self.names = np.array(names)
        self.format = file_format

    def __len__(self) -> int:
        return len(self.names)

    def stems(self) -> list[str]:
        return [str(PurePosixPath(name).with_suffix('')) for name in self.names.tolist()]

    def path(self, index: int) -> Path:
        """Path of a file."""
        return self.root / str(self.names[index])

    def name(self, index: int) -> str:
        return str(self.path(index))

    def size(self, index: int) -> tuple[int, int]:
        return self.format.size(self.path(index))

    def content(self, index: int) -> bytes:
        return read_bytes(self.path(index))


def evenly_spaced(items: Sized, count: int) -> list[int]:
    """Indices of evenly spaced items from the first to the last, at most `count`."""
    return np.linspace(0, len(items) - 1, min(count, len(items))).round().astype(int).tolist()


def spread(items: Sequence[T], count: int) -> list[T]:
    """Evenly spaced items from the first to the last, at most `count`."""
    return [items[index] for index in evenly_spaced(items, count)]


def find_errors(count: int, check: Callable[[int], object]) -> dict[int, UserError]:
    """Call `check` with each index from 0 to `count` - 1 and return the errors by index."""
    errors = {}
    for index in range(count):
        try:
            check(index)
        except UserError as error:
            errors[index] = error
    return errors


def check_all(count: int, check: Callable[[int], object]) -> None:
    """Call `check` with each index from 0 to `count` - 1, and raise as `raise_errors` does."""
    raise_errors(list(find_errors(count, check).values()))


def raise_errors(errors: Sequence[UserError]) -> None:
    """Raise an error of the type of the first one, if any, with the messages of all, `LISTED_ERRORS` at most."""
    if errors:
        others = f' ({len(errors) - LISTED_ERRORS} more problems)' if len(errors) > LISTED_ERRORS else ''
        raise type(errors[0])('; '.join(map(str, errors[:LISTED_ERRORS])) + others) from errors[0]
