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
