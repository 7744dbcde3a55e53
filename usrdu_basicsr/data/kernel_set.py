"""Blur kernels on disk: a folder of `NAME.npy` or `NAME.mat`, one kernel a file."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from scipy.io import loadmat, savemat
from scipy.io.matlab import MatReadError

from usrdu_basicsr.utils.errors import InputError
from usrdu_basicsr.utils.files import atomic_write, input_folder

EXTENSIONS = ('.mat', '.npy')
MAT_NAME = 'Kernel'  # what KernelGAN calls the array in its .mat files
SUM_TOLERANCE = 0.02  # centring by spline leaves a few thousandths
UNREADABLE = (
    *(OSError, ValueError, TypeError, KeyError, EOFError, NotImplementedError),
    *(MatReadError, BadZipFile, zlib.error),
)
REMEDY = 'replace or remove the file'


def write_kernel(folder: Path, name: str, kernel: np.ndarray) -> None:
    """Write `folder/NAME.npy` and the same as `folder/NAME.mat`, whole or not at all."""
    atomic_write(folder / f'{name}.npy', lambda file: np.save(file, kernel))
    atomic_write(folder / f'{name}.mat', lambda file: savemat(file, {MAT_NAME: kernel}))


def list_kernels(folder: str | Path) -> list[Path]:
    """Kernel files of a folder, by name; where a kernel is there in both formats, its `.npy`.

    Raises:
        InputNotFoundError: There is no such folder.
        InputError: It holds no kernel.
    """
    folder = input_folder(Path(folder).expanduser())
    files = sorted(path for path in folder.iterdir() if path.suffix in EXTENSIONS and path.name[0] != '.')
    paths = {path.stem: path for path in files}
    if not paths:
        inner = sorted({path.parent.name for path in folder.glob('*/*') if path.suffix in EXTENSIONS})
        hint = f'; it holds the folders {", ".join(inner)}: name one of them' if inner else ''
        raise InputError(f"folder '{folder}' holds no kernel: expected files ending in .npy or .mat{hint}")
    return list(paths.values())


def read_kernel(path: Path) -> np.ndarray:
    """Read one kernel.

    Returns:
        `(H, W)` float64, in correlation order.

    Raises:
        InputError: The file is missing or damaged, not 2-D, not finite, or does not sum to 1.
    """
    kernel = _read_array(path)
    if not isinstance(kernel, np.ndarray):
        raise InputError(f"kernel '{path}' is a {type(kernel).__name__}, expected a matrix (rows, columns): {REMEDY}")
    if kernel.ndim != 2 or kernel.dtype.kind not in 'fiu':
        shape = f'{kernel.dtype} of shape {kernel.shape}'
        raise InputError(f"kernel '{path}' is {shape}, expected a real matrix (rows, columns): {REMEDY}")
    kernel = kernel.astype(np.float64)
    if not np.isfinite(kernel).all():
        raise InputError(f"kernel '{path}' holds numbers that are not finite: {REMEDY}")
    if abs(kernel.sum() - 1) > SUM_TOLERANCE:
        raise InputError(f"kernel '{path}' sums to {kernel.sum():.4g}, expected 1: divide it by its sum, or {REMEDY}")
    return kernel


def read_kernel_set(folder: str | Path, largest: int) -> np.ndarray:
    """Read a folder of kernels.

    Args:
        folder: Where they are.
        largest: Side of the patch that they shall reduce, pixels.

    Returns:
        `(K, n, n)` float32, correlation order, n odd, each divided by its sum. Smaller kernels are padded with zeros
        such that tap `side // 2` of each comes to tap `n // 2`.

    Raises:
        InputNotFoundError: There is no such folder.
        InputError: It holds no kernel, or a kernel is malformed or larger than the patch.
    """
    kernels = []
    for path in list_kernels(folder):
        kernel = read_kernel(path)
        if max(kernel.shape) > largest:
            size = f'{kernel.shape[0]}x{kernel.shape[1]}'
            raise InputError(f"kernel '{path}' of {size} pixels is larger than the patch of {largest}: {REMEDY}")
        kernels.append(kernel / kernel.sum())
    middle = max(max(kernel.shape) for kernel in kernels) // 2
    padded = np.zeros((len(kernels), 2 * middle + 1, 2 * middle + 1), np.float32)
    for canvas, (kernel_height, kernel_width), kernel in zip(padded, map(np.shape, kernels), kernels, strict=True):
        top, left = middle - kernel_height // 2, middle - kernel_width // 2
        canvas[top : top + kernel_height, left : left + kernel_width] = kernel
    return padded


def _read_array(path: Path) -> Any:
    try:
        if path.suffix == '.npy':
            return np.load(path, allow_pickle=False)
        content = loadmat(path)
    except UNREADABLE as error:
        raise InputError(f"cannot read kernel '{path}': {REMEDY} ({error})") from error
    if MAT_NAME not in content:
        names = ', '.join(name for name in content if not name.startswith('__')) or 'nothing'
        raise InputError(f"kernel '{path}' holds {names}, expected an array {MAT_NAME!r}: rename it, or {REMEDY}")
    return content[MAT_NAME]
