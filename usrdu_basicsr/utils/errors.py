"""Errors for the user: launchers and scripts print their message without a traceback."""

import os
from collections.abc import Sequence

NAMED = 3  # names in a message


class UserError(Exception):
    """Base class. The message names the option or file, the value, the expected value and the remedy."""


class InputError(UserError, ValueError):
    """An option, a file or an image is invalid."""


class InputNotFoundError(UserError, FileNotFoundError):
    """A file or folder that the user named does not exist."""


class WriteError(UserError, OSError):
    """A file cannot be written, for example because the disk is full or permission is denied."""


class DivergenceError(UserError, ArithmeticError):
    """The losses of a training stay non-finite."""


class WorkerDiedError(UserError, RuntimeError):
    """A data worker was killed, for example because memory ran out."""


def not_found(what: str) -> InputNotFoundError:
    """Error of a missing file or folder, which names the folder that relative paths start at."""
    return InputNotFoundError(f"{what} does not exist. Relative paths start at '{os.getcwd()}'")


def cannot_write(path: object, error: OSError, consequence: str = '') -> WriteError:
    """Error of a failed write, with its reason and consequence."""
    reason = f"cannot write '{path}' ({error.strerror or error})"
    return WriteError(f'{reason}{consequence}. Free disk space or check the permissions')


def first_few(names: Sequence[object]) -> str:
    """The first few names for a message, quoted."""
    return ', '.join(f"'{name}'" for name in names[:NAMED]) + (', ...' if len(names) > NAMED else '')


def first_line(error: BaseException) -> str:
    """First line of an error's message. The other lines usually describe the internals of a library."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def one_line(error: BaseException) -> str:
    """Whole message of an error, joined to one line."""
    return ' '.join(str(error).split())
