"""Where a dataset's images are, as the datasets see it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path

import numpy as np

from usrdu_basicsr.storage.formats import Format
from usrdu_basicsr.utils.errors import InputError


class Source(ABC):
    """Arrays `(H, W, 3)` by index.

    It holds no list of Python objects: each look of a worker at one counts a reference and so copies memory that the
    workers share.

    Attributes:
        root: Folder or LMDB.
        format: What is stored there.
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
        """Path of the file, or of the LMDB with the key behind it."""

    @abstractmethod
    def size(self, index: int) -> tuple[int, int]:
        """(height, width), without decoding.

        Raises:
            InputError: The file cannot be read or is incomplete.
        """

    @abstractmethod
    def content(self, index: int) -> bytes:
        """The bytes of the file.

        Raises:
            InputError: It is missing or cannot be read.
        """

    def read(self, index: int) -> np.ndarray:
        """The array, in the depth in which it is stored.

        Raises:
            InputError: It is missing or damaged.
        """
        return self.format.decode(self.content(index), self.name(index))

    def partners(self, other: Source) -> np.ndarray:
        """The index in `other` of what has the same name without extension, for each of these.

        Raises:
            InputError: `other` has none for some, or two of a name.
        """
        index: dict[str, int] = {}
        for i, stem in enumerate(other.stems()):
            if stem in index:
                raise InputError(
                    f"'{other.name(index[stem])}' and '{other.name(i)}' share a name, so which of them belongs to"
                    f" '{self.root}' is not clear: rename one of them"
                )
            index[stem] = i
        mine = self.stems()
        if lone := [i for i, stem in enumerate(mine) if stem not in index]:
            others = f' and {len(lone) - 1} more' if len(lone) > 1 else ''
            raise InputError(f"'{self.name(lone[0])}'{others}: no partner of the same name in '{other.root}'")
        return np.array([index[stem] for stem in mine])
