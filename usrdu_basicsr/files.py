"""Where files are written, and that they are written whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from usrdu_basicsr.errors import InputError, InputNotFoundError


def input_folder(path: str | Path) -> Path:
    """A folder to read from.

    Raises:
        InputNotFoundError: There is none of this name.
    """
    path = Path(path)
    if not path.is_dir():
        raise InputNotFoundError(f"no folder '{path}': check the path, which is relative to '{Path.cwd()}'")
    return path


def output_folder(path: str | Path) -> Path:
    """A folder to write into, which need not exist yet.

    Raises:
        InputError: It, or a part of its path, is a file.
    """
    path = Path(path)
    for part in (path, *path.parents):
        if part.is_file():
            raise InputError(f"output '{path}': '{part}' is a file; name a folder")
    return path


def write_whole(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Write a file under a temporary name beside it, flush it to the disk, then rename it.

    A reader sees the old file or the new one, never a part; a failed write leaves the old one and nothing else.

    Args:
        path: The file; its folder is made if missing.
        write: Called with the open binary file.

    Raises:
        OSError: The disk is full, or the folder cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f'.{path.name}.{os.getpid()}.tmp')
    try:
        with open(temporary, 'wb') as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a text file in UTF-8, whole or not at all."""
    write_whole(path, lambda file: file.write(text.encode()))
