"""What can go wrong with an export alone."""

from __future__ import annotations

from torch import Tensor

from usrdu_basicsr.utils.errors import UserError, first_line


class ExportError(UserError, RuntimeError):
    """A network cannot be exported to a format, or what was exported computes something else."""


def cannot_run(export_format: str, x: Tensor, error: Exception) -> str:
    """The message where an exported network fails on `x`, `(N, 3, H, W)`."""
    return f'{export_format} is not written: it fails on {list(x.shape)} ({first_line(error)}); choose another --format'
