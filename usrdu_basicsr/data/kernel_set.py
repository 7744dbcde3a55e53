"""Kernel set on disk: a folder of blur kernels, one `NAME.npy` or `NAME.mat` file per kernel."""

from pathlib import Path

import numpy as np
from scipy.io import savemat

from usrdu_basicsr.storage.mat_file import decode_arrays
from usrdu_basicsr.storage.npy_file import decode_array
from usrdu_basicsr.utils.errors import InputError
from usrdu_basicsr.utils.files import atomic_write, input_folder, read_bytes

EXTENSIONS = ('.mat', '.npy')
MAT_NAME = 'Kernel'  # name of the array in KernelGAN's .mat files
SUM_TOLERANCE = 0.02  # spline centring changes the sum by a few thousandths
REMEDY = 'Replace or remove the file'


def write_kernel(folder: Path, name: str, kernel: np.ndarray) -> None:
    """Write a kernel to `folder/NAME.npy` and `folder/NAME.mat`, atomically."""
    atomic_write(folder / f'{name}.npy', lambda file: np.save(file, kernel))
    atomic_write(folder / f'{name}.mat', lambda file: savemat(file, {MAT_NAME: kernel}))


def list_kernels(folder: str | Path) -> list[Path]:
    """List the kernel files of a folder by name. A kernel in both formats is listed once, as `.npy`.

    Raises:
        InputNotFoundError: If the folder does not exist.
        InputError: If it contains no kernel.
    """
    folder = input_folder(Path(folder).expanduser())
    files = sorted(path for path in folder.iterdir() if path.suffix in EXTENSIONS and path.name[0] != '.')
    paths = {path.stem: path for path in files}
    if not paths:
        subfolders = sorted({path.parent.name for path in folder.glob('*/*') if path.suffix in EXTENSIONS})
        hint = f'. Use one of its subfolders {", ".join(subfolders)}' if subfolders else ''
        raise InputError(f"folder '{folder}' contains no kernel: expected .npy or .mat files{hint}")
    return list(paths.values())


def read_kernel(path: Path) -> np.ndarray:
    """Read a kernel.

    Returns:
        `(H, W)` float64, in correlation order.

    Raises:
        InputError: If the file is missing or corrupt, or the kernel is not 2-D, non-finite, or does not sum to 1.
    """
    kernel = _read_array(path)
    if kernel is None or kernel.ndim != 2 or kernel.dtype.kind not in 'fiu':
        actual = 'another value' if kernel is None else f'{kernel.dtype} of shape {kernel.shape}'
        raise InputError(f"kernel '{path}': got {actual}, expected a real matrix (rows, columns). {REMEDY}")
    kernel = kernel.astype(np.float64)
    if not np.isfinite(kernel).all():
        raise InputError(f"kernel '{path}' contains non-finite values. {REMEDY}")
    if abs(kernel.sum() - 1) > SUM_TOLERANCE:
        raise InputError(f"kernel '{path}': got sum {kernel.sum():.4g}, expected 1. Divide it by its sum")
    return kernel


def read_kernel_set(folder: str | Path, patch_size: int) -> np.ndarray:
    """Read a folder of kernels.

    Args:
        folder: Path of the folder.
        patch_size: Side of the patches that the kernels downsample, in pixels.

    Returns:
        `(K, n, n)` float32, correlation order, n odd, each divided by its sum. Smaller kernels are zero-padded so that
        tap `side // 2` of each becomes tap `n // 2`.

    Raises:
        InputNotFoundError: If the folder does not exist.
        InputError: If it contains no kernel, or a kernel is malformed or larger than a patch.
    """
    kernels = []
    for path in list_kernels(folder):
        kernel = read_kernel(path)
        height, width = kernel.shape
        if max(height, width) > patch_size:
            expected = f'at most {patch_size}x{patch_size}, the size of a patch'
            raise InputError(f"kernel '{path}': got {height}x{width} pixels, expected {expected}. {REMEDY}")
        kernels.append(kernel / kernel.sum())
    middle = max(max(kernel.shape) for kernel in kernels) // 2
    padded = [np.pad(k, [(middle - side // 2, middle - (side - 1) // 2) for side in k.shape]) for k in kernels]
    return np.stack(padded).astype(np.float32)


def _read_array(path: Path) -> np.ndarray | None:
    content = read_bytes(path)
    try:
        if path.suffix == '.npy':
            return decode_array(content)
        arrays = decode_arrays(content)
    except ValueError as error:
        raise InputError(f"cannot read kernel '{path}' ({error}). {REMEDY}") from error
    if MAT_NAME not in arrays:
        names = ', '.join(arrays) or 'nothing'
        raise InputError(f"kernel '{path}': got {names}, expected an array {MAT_NAME!r}. Rename the array")
    return arrays[MAT_NAME]
