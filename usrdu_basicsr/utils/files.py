"""Find and read files; write files and folders atomically."""

import glob
import hashlib
import logging
import os
import shutil
import uuid
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from usrdu_basicsr.utils.errors import InputError, UserError, cannot_write, not_found

logger = logging.getLogger(__name__)
TEMPORARY = '.tmp'


def input_folder(path: str | Path) -> Path:
    """Check that a folder to read from exists (InputNotFoundError) and is readable (InputError)."""
    path = Path(path)
    if not path.is_dir():
        raise not_found(f"folder '{path}'")
    if not os.access(path, os.R_OK | os.X_OK):
        raise InputError(f"cannot read folder '{path}': permission denied")
    return path


def list_files(folder: Path, extensions: Collection[str], noun: str) -> list[Path]:
    """List the files of an existing folder by name, without hidden files, files in subfolders, pipes and devices.

    Args:
        folder: Existing folder.
        extensions: File name extensions in lower case, with the dot.
        noun: Content of the files, for the InputError if there is none.
    """
    named = (p for p in folder.iterdir() if p.suffix.lower() in extensions and not p.name.startswith('.'))
    # Folders and broken links are listed too, so that reading them reports them
    paths = sorted(p for p in named if p.is_file() or p.is_dir() or not p.exists())
    if not paths:
        raise InputError(f"folder '{folder}' contains no {noun}: expected files with {', '.join(sorted(extensions))}")
    return paths


def check_file(path: Path) -> None:
    """Raise an InputError if a path is a pipe, device or folder; opening a pipe could block forever."""
    if not path.is_file() and path.exists():
        raise InputError(f"cannot read '{path}': it is not a file. Replace or remove it")


def read_bytes(path: Path) -> bytes:
    """Read a file, with an InputError if that fails or it is not a file."""
    check_file(path)
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot read '{path}' ({error.strerror or error}). Replace or remove it") from error


def file_sha256(path: str | Path) -> str:
    """SHA-256 of the content of a file, hexadecimal, with an InputError if it cannot be read."""
    return hashlib.sha256(read_bytes(Path(path).expanduser())).hexdigest()


def output_folder(path: str | Path, *inputs: str | Path) -> Path:
    """Check that a folder to write into, which need not exist, is none of the inputs and in no file (InputError)."""
    path = Path(path)
    if path.resolve() in [Path(folder).resolve() for folder in inputs]:
        raise InputError(f"output '{path}' is the input folder. Choose another folder")
    for part in (path, *path.parents):
        if part.is_file():
            raise InputError(f"output '{path}': '{part}' is a file, expected a folder")
    return path


def atomic_write(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Write a temporary file in the same folder, flush it to the disk and rename it to `path`.

    Readers see the old file or the new file, never a part of it. A failed write leaves the existing file unchanged.
    Only a killed process leaves its temporary file, which `remove_temporaries` removes.

    Args:
        path: Output file. Missing parent folders are created.
        write: Function that writes the content into the open binary file.

    Raises:
        WriteError: If the disk is full or the folder is not writable.
    """
    temporary = _temporary_path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, 'wb') as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        raise cannot_write(path, error, ': the existing file is left unchanged') from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
    with suppress(OSError):  # Windows cannot open folders, and some file systems cannot flush them
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)  # otherwise a power failure can lose the new name
        finally:
            os.close(folder)


def write_bytes(path: Path, content: bytes | memoryview) -> None:
    """Write a file atomically."""
    atomic_write(path, lambda file: file.write(content))


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 text file atomically."""
    write_bytes(path, text.encode())


def _temporary_path(path: Path) -> Path:
    """Hidden name in the same folder, unique among processes and machines."""
    return path.with_name(f'.{path.name}.{uuid.uuid4().hex}{TEMPORARY}')


def remove_temporaries(folder: Path) -> None:
    """Remove the temporary files of killed processes from a folder that no process is writing to."""
    for path in folder.glob(f'.*.{"[0-9a-f]" * 32}{TEMPORARY}'):
        if path.is_file():
            path.unlink(missing_ok=True)


@contextmanager
def atomic_dir(path: Path, mark: str, overwrite: bool = False) -> Iterator[Path]:
    """Create a folder that gets its name when the block ends. An error in the block removes it.

    Args:
        path: Output folder.
        mark: Name of a file that the block writes into the folder. It identifies folders that may be overwritten.
        overwrite: Replace an existing folder that contains `mark`.

    Yields:
        Temporary folder in the same parent folder. A killed process leaves it, and the next call logs a warning.

    Raises:
        InputError: If the output exists and may not be overwritten, or is a file.
        WriteError: If it cannot be written.
    """
    check_overwrite(path, mark, overwrite)
    path = path.resolve()  # replaces the target of a symbolic link, not the link
    for incomplete in path.parent.glob(f'.{glob.escape(path.name)}.*{TEMPORARY}'):
        logger.warning("Incomplete output '%s' found. Remove it if no process is writing it", incomplete)
    temporary, replaced = _temporary_path(path), _temporary_path(path)
    try:
        temporary.mkdir(parents=True)
        yield temporary
        if hasattr(os, 'sync'):  # not on Windows
            os.sync()
        check_overwrite(path, mark, overwrite)  # another process may have created it in the meantime
        if path.exists():
            path.rename(replaced)
        temporary.rename(path)
        shutil.rmtree(replaced, ignore_errors=True)
    except UserError:
        raise
    except OSError as error:
        raise cannot_write(path, error) from error
    finally:
        if replaced.exists() and not path.exists():
            replaced.rename(path)
        shutil.rmtree(temporary, ignore_errors=True)


def check_overwrite(path: Path, mark: str, overwrite: bool) -> None:
    """Raise an InputError if `path` exists and `overwrite` is False or the folder does not contain `mark`."""
    if not output_folder(path).exists():
        return
    if not overwrite:
        raise InputError(f"output '{path}' already exists. Choose another name, remove it, or pass --overwrite")
    if not (path / mark).is_file():
        raise InputError(f"output '{path}' contains no {mark}, so this script did not write it. Choose another name")
