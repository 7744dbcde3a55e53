"""Find and read files; write them whole or not at all."""

from __future__ import annotations

import glob
import logging
import os
import re
import shutil
import uuid
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from usrdu_basicsr.utils.errors import InputError, InputNotFoundError, UserError, WriteError

logger = logging.getLogger(__name__)
TEMPORARY = '.tmp'


def input_folder(path: str | Path) -> Path:
    """A folder to read from.

    Raises:
        InputNotFoundError: There is none of this name.
        InputError: It must not be read.
    """
    path = Path(path)
    if not path.is_dir():
        raise InputNotFoundError(f"no folder '{path}': check the path, which is relative to '{Path.cwd()}'")
    if not os.access(path, os.R_OK | os.X_OK):
        raise InputError(f"folder '{path}' cannot be read: its permissions forbid it")
    return path


def list_files(folder: Path, extensions: Collection[str], noun: str) -> list[Path]:
    """Files of a folder (not of its subfolders) by name, without hidden ones.

    Args:
        folder: Exists.
        extensions: Of the files, in lower case.
        noun: What they are, for the message.

    Raises:
        InputError: There are none.
    """
    paths = sorted(p for p in folder.iterdir() if p.suffix.lower() in extensions and not p.name.startswith('.'))
    if not paths:
        raise InputError(f"folder '{folder}' holds no {noun}: expected files ending in {', '.join(sorted(extensions))}")
    return paths


def read_bytes(path: Path) -> bytes:
    """What a file holds.

    Raises:
        InputError: It cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot read '{path}': replace or remove it ({error})") from error


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


def atomic_write(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Write a file under a temporary name beside it, flush it to the disk, then rename it.

    A reader sees the old file or the new one, never a part; a failed write leaves the old one and nothing else. Only a
    killed process leaves its temporary file, which `remove_temporaries` finds.

    Args:
        path: The file; its folder is made if missing.
        write: Called with the open binary file.

    Raises:
        WriteError: The disk is full, or the folder cannot be written.
    """
    temporary = _temporary(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with open(temporary, 'wb') as file:
                write(file)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise WriteError(
            f"cannot write '{path}' ({error.strerror or error}): what was there before is as it was; make room, or see"
            ' to permissions'
        ) from error
    _flush_folder(path.parent)


def _temporary(path: Path) -> Path:
    """A hidden name beside a file or folder that no other process has, on this machine or another."""
    return path.with_name(f'.{path.name}.{uuid.uuid4().hex}{TEMPORARY}')


def _flush_folder(folder: Path) -> None:
    """Bring a new name to the disk; without this, it can be lost with the power while its file is there."""
    with suppress(OSError):  # Windows does not open folders, and some file systems do not flush them
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def remove_temporaries(folder: Path) -> None:
    """Remove what killed processes left of `atomic_write` in a folder, into which none is writing now."""
    for path in folder.glob(f'.*{TEMPORARY}'):
        if re.fullmatch(r'\..+\.[0-9a-f]{32}', path.stem) and path.is_file():
            path.unlink(missing_ok=True)


@contextmanager
def atomic_dir(path: Path, mark: str, overwrite: bool = False) -> Iterator[Path]:
    """A folder that gets its name once the block has ended; after an error nothing of it is left.

    Args:
        path: The folder.
        mark: A file that the block writes into it, and that tells folders of this kind from others.
        overwrite: Replace it if it is there already, and of this kind.

    Yields:
        A temporary folder beside it, to write into. A killed run leaves it behind, and the next tells of it.

    Raises:
        InputError: It is there already, is a file, or cannot be written.
    """
    check_overwrite(path, mark, overwrite)
    path = path.resolve()  # a link's folder is replaced, not the link
    for left in path.parent.glob(f'.{glob.escape(path.name)}.*{TEMPORARY}'):
        logger.warning("'%s' is from a run that was killed, if none is writing it now: remove it", left)
    temporary, replaced = _temporary(path), _temporary(path)
    try:
        temporary.mkdir(parents=True)
        yield temporary
        if hasattr(os, 'sync'):  # not on Windows
            os.sync()
        check_overwrite(path, mark, overwrite)  # what came to be there meanwhile, either
        if path.exists():
            path.rename(replaced)
        temporary.rename(path)
        shutil.rmtree(replaced, ignore_errors=True)
    except UserError:
        raise
    except OSError as error:
        raise InputError(f"cannot write '{path}': is there room, and permission? ({error})") from error
    finally:
        if replaced.exists() and not path.exists():
            replaced.rename(path)
        shutil.rmtree(temporary, ignore_errors=True)


def check_overwrite(path: Path, mark: str, overwrite: bool) -> None:
    """Check what `atomic_dir` would do with a folder that is there.

    Raises:
        InputError: It is not to be replaced, or holds no `mark`, so that it may be something else.
    """
    if not output_folder(path).exists():
        return
    if not overwrite:
        raise InputError(f"output '{path}' is there already: name another, remove it, or pass --overwrite")
    if not (path / mark).is_file():
        raise InputError(f"output '{path}' holds no {mark}, so it was not written by this script: name another")


def write_text(path: Path, text: str) -> None:
    """Write a text file in UTF-8, whole or not at all."""
    atomic_write(path, lambda file: file.write(text.encode()))
