"""What can go wrong with an export alone."""

from __future__ import annotations

from torch import Tensor

from usrdu_basicsr.errors import UserError


class ExportError(UserError, RuntimeError):
    """A network cannot be exported to a format, or what was exported computes something else."""


def cannot_run(export_format: str, x: Tensor, error: Exception) -> str:
    """The message where an exported network fails on `x`, `(N, 3, H, W)`."""
    return f'{export_format} is not written: it fails on {list(x.shape)} ({first_line(error)}); choose another --format'


def first_line(error: BaseException) -> str:
    """Of an error's message, whose other lines are of its library's insides."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
