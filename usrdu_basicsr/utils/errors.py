"""Errors that a user can mend: launchers and scripts show their message alone, without a traceback."""


class UserError(Exception):
    """Base of the errors whose message names the thing, what was got, what was expected and the remedy."""


class InputError(UserError, ValueError):
    """An option, a file or an image holds something that cannot be used."""


class InputNotFoundError(UserError, FileNotFoundError):
    """A file or folder named by the user does not exist."""


class WriteError(UserError, OSError):
    """A file could not be written: the disk is full, say, or there is no permission."""


class DivergenceError(UserError, ArithmeticError):
    """The losses of a training are not numbers any more."""


def first_line(error: BaseException) -> str:
    """Of an error's message, whose other lines are of its library's insides."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def one_line(error: BaseException) -> str:
    """An error's message, of which each line says something."""
    return ' '.join(str(error).split())
