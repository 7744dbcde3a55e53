"""The files of a photo's kernel: `x2/NAME.npy` and `.mat`, for scale 4 the same in `x4/`, which follow from `x2`."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from usrdu_basicsr.data.kernel_set import EXTENSIONS, read_kernel, write_kernel
from usrdu_basicsr.kernelgan.postprocess import x2_to_x4_kernel
from usrdu_basicsr.utils.errors import InputError


def read_x2_kernel(output: Path, stem: str) -> np.ndarray:
    """A photo's x2 kernel.

    Raises:
        InputError: It is missing or damaged.
    """
    return read_kernel(output / 'x2' / f'{stem}.npy')


def write_kernels(output: Path, stem: str, kernel: np.ndarray, scale: int) -> None:
    """Write a photo's x2 kernel, and for scale 4 the x4 kernel that follows from it; what is there already, stays."""
    for folder, expected in (('x2', kernel), ('x4', x2_to_x4_kernel(kernel)))[: 2 if scale == 4 else 1]:
        if not _holds(output / folder / stem, expected):
            write_kernel(output / folder, stem, expected)


def remove_kernels(output: Path, stem: str) -> None:
    """Remove a photo's kernels of both scales."""
    for folder in ('x2', 'x4'):
        for extension in EXTENSIONS:
            (output / folder / f'{stem}{extension}').unlink(missing_ok=True)


def _holds(file: Path, expected: np.ndarray) -> bool:
    """Whether a kernel is there in both formats."""
    try:
        found = [read_kernel(file.with_name(f'{file.name}{extension}')) for extension in EXTENSIONS]
    except InputError:
        return False
    return all(kernel.shape == expected.shape and np.allclose(kernel, expected) for kernel in found)
