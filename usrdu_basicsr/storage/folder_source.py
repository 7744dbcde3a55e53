"""Read the files of a folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import numpy as np

from usrdu_basicsr.storage.formats import Format
from usrdu_basicsr.storage.source import Source
from usrdu_basicsr.utils.files import read_bytes


class FolderSource(Source):
    """Files of a folder.

    Args:
        root: The folder.
        names: Of the files, relative to it.
        file_format: What they hold.
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
        """The file."""
        return self.root / str(self.names[index])

    def name(self, index: int) -> str:
        return str(self.path(index))

    def size(self, index: int) -> tuple[int, int]:
        return self.format.size(self.path(index))

    def content(self, index: int) -> bytes:
        return read_bytes(self.path(index))
