"""From a trained generator's kernel to one that images can be reduced with."""

from __future__ import annotations

import numpy as np
import torch
from scipy.ndimage import shift
from scipy.signal import convolve2d

from usrdu_basicsr.kernelgan.constraints import COLLAPSED
from usrdu_basicsr.ops.kernels import centre_of_mass

NUM_KEPT_TAPS = 40  # taps kept of a x2 kernel
THRESHOLD = 0.75  # of the largest tap not kept


def post_process(kernel: np.ndarray) -> np.ndarray:
    """Remove negligible taps, then centre the kernel: half a pixel past its middle tap, where LR pixels lie for x2.

    Args:
        kernel: `(13, 13)`.

    Returns:
        `(n, n)`, n odd and at least 15; sums to 1 within the error of a cubic spline.

    Raises:
        ValueError: The kernel holds no positive taps, or numbers that are not finite.
    """
    return centre(remove_negligible(kernel))


def remove_negligible(kernel: np.ndarray) -> np.ndarray:
    """Subtract 0.75 times the 41st largest tap, clip at 0, divide by the sum.

    Raises:
        ValueError: Nothing is left, or numbers are not finite.
    """
    kernel = kernel.astype(np.float64)
    threshold = THRESHOLD * np.sort(kernel, axis=None)[-NUM_KEPT_TAPS - 1]
    kept = (kernel - threshold).clip(0)
    total = kept.sum()
    if not np.isfinite(total) or total <= 0:
        raise ValueError('the estimated kernel has no finite, positive taps')
    return kept / total


def centre(kernel: np.ndarray) -> np.ndarray:
    """Move a x2 kernel's centre of mass to `n // 2 + 0.5 * (2 - n % 2)`, by cubic spline, on a larger canvas."""
    wanted = len(kernel) // 2 + 0.5 * (2 - len(kernel) % 2)
    move = wanted - centre_of_mass(torch.from_numpy(kernel)[None])[0].numpy()
    padded = np.pad(kernel, int(np.ceil(np.abs(move).max())) + 1)
    return shift(padded, move)


def consensus(raw: np.ndarray) -> np.ndarray:
    """What several runs on one photo agree on: of the post-processed kernels, the median of each tap, centred again.

    Now and then a run collapses: its kernel sums to 0 or to 2 and has nothing to do with the photo. Such runs are left
    out, and a median gives little weight to those that are merely odd.

    Args:
        raw: What the runs ended with, `(R, 13, 13)`.

    Returns:
        `(n, n)`, n odd; sums to 1.

    Raises:
        ValueError: No run has a kernel.
    """
    kernels = [post_process(kernel) for kernel in raw if not has_collapsed(kernel)]
    if not kernels:
        raise ValueError(f'each of the {len(raw)} runs collapsed')
    if len(kernels) == 1:
        return kernels[0] / kernels[0].sum()
    size = max(map(len, kernels))
    median = np.median([_enlarged(kernel, size) for kernel in kernels], axis=0).clip(0)
    centred = centre(median / median.sum())
    margin = (len(centred) - size) // 2
    inner = centred[margin:-margin, margin:-margin]
    return inner / inner.sum()


def has_collapsed(raw: np.ndarray) -> bool:
    """Whether a run ended with a kernel whose sum is far from 1, or not a number."""
    return not abs(raw.sum() - 1) < COLLAPSED


def x2_to_x4_kernel(kernel: np.ndarray) -> np.ndarray:
    """The x4 kernel of a x2 kernel: what reducing twice with it does, without the outer taps.

    Args:
        kernel: `(n, n)`.

    Returns:
        `(3n - 2 - 2 (n // 2),) * 2`, sums to 1.
    """
    size = len(kernel)
    spread = np.zeros((2 * size - 1, 2 * size - 1))
    spread[::2, ::2] = kernel
    big = convolve2d(spread, kernel)
    margin = size // 2
    inner = big[margin:-margin, margin:-margin]
    return inner / inner.sum()


def kernel_error(kernel: np.ndarray, expected: np.ndarray) -> float:
    """Distance of two kernels `(n, n)` of odd sizes, middle on middle, relative to the norm of the expected one."""
    size = max(len(kernel), len(expected))
    kernel, expected = _enlarged(kernel, size), _enlarged(expected, size)
    return float(np.linalg.norm(kernel - expected) / np.linalg.norm(expected))


def _enlarged(kernel: np.ndarray, size: int) -> np.ndarray:
    return np.pad(kernel, (size - len(kernel)) // 2)
