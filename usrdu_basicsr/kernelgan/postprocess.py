"""Post-processing of estimated kernels, the median of several runs, and the x4 kernel."""

import numpy as np
from scipy.ndimage import center_of_mass, shift
from scipy.signal import convolve2d

from usrdu_basicsr.kernelgan.constraints import COLLAPSED_SUM_ERROR

NUM_KEPT_TAPS = 40  # taps kept of a x2 kernel
THRESHOLD = 0.75  # of the largest tap that is not kept


def post_process(kernel: np.ndarray) -> np.ndarray:
    """Remove negligible taps, then centre the kernel half a pixel past its middle tap, at the LR pixel centre of x2.

    Args:
        kernel: `(13, 13)`.

    Returns:
        `(n, n)` with odd n >= 15; its sum is 1 within the error of a cubic spline.

    Raises:
        ValueError: If the kernel has no positive taps or non-finite values.
    """
    return centre(remove_negligible(kernel))


def remove_negligible(kernel: np.ndarray) -> np.ndarray:
    """Subtract 0.75 times the 41st largest tap, clip at 0 and divide by the sum; errors as in `post_process`."""
    kernel = kernel.astype(np.float64)
    threshold = THRESHOLD * np.sort(kernel, axis=None)[-NUM_KEPT_TAPS - 1]
    kept = (kernel - threshold).clip(0)
    total = kept.sum()
    if not np.isfinite(total) or total <= 0:
        raise ValueError('the estimated kernel has no finite, positive taps')
    return kept / total


def centre(kernel: np.ndarray) -> np.ndarray:
    """Pad a x2 kernel and shift its centre of mass to `n // 2 + 0.5`, n odd, by cubic spline interpolation."""
    offset = len(kernel) // 2 + 0.5 - np.array(center_of_mass(kernel))
    return shift(np.pad(kernel, int(np.ceil(np.abs(offset).max())) + 1), offset)


def consensus(raw: np.ndarray) -> np.ndarray:
    """Median over the runs of each tap of the post-processed kernels, centred again.

    Collapsed runs are ignored: their kernels sum to 0 or 2, for example, and do not depend on the image. The median
    limits the influence of other outliers.

    Args:
        raw: Kernels of the runs on one image, `(R, 13, 13)`.

    Returns:
        `(n, n)` with odd n and sum 1.

    Raises:
        ValueError: If no run has a valid kernel.
    """
    kernels = [post_process(kernel) for kernel in raw if not has_collapsed(kernel)]
    if not kernels:
        raise ValueError(f'all {len(raw)} runs collapsed')
    if len(kernels) == 1:
        return kernels[0] / kernels[0].sum()
    size = max(map(len, kernels))
    median = np.median([_pad_to(kernel, size) for kernel in kernels], axis=0).clip(0)
    return _crop_border(centre(median / median.sum()), size)


def has_collapsed(raw: np.ndarray) -> bool:
    """Whether the kernel of a run is non-finite or its sum is far from 1."""
    return not abs(raw.sum() - 1) < COLLAPSED_SUM_ERROR


def x2_to_x4_kernel(kernel: np.ndarray) -> np.ndarray:
    """Kernel that downsamples x4 as a x2 kernel applied twice, without the outer taps.

    Args:
        kernel: `(n, n)`.

    Returns:
        `(m, m)` with `m = 3n - 2 - 2 (n // 2)` and sum 1.
    """
    size = len(kernel)
    dilated = np.zeros((2 * size - 1, 2 * size - 1))
    dilated[::2, ::2] = kernel
    return _crop_border(convolve2d(dilated, kernel), 3 * size - 2 - 2 * (size // 2))


def kernel_error(kernel: np.ndarray, expected: np.ndarray) -> float:
    """Distance of two kernels `(n, n)` of odd sizes with aligned middles, relative to the norm of the expected one."""
    size = max(len(kernel), len(expected))
    kernel, expected = _pad_to(kernel, size), _pad_to(expected, size)
    return float(np.linalg.norm(kernel - expected) / np.linalg.norm(expected))


def axis_spreads(weights: np.ndarray) -> np.ndarray:
    """Standard deviations of the positions of pixels along their narrowest and their widest axis.

    Args:
        weights: Weight of each pixel, `(H, W)`, >= 0, for example a blur kernel.

    Returns:
        `(2,)` float64, ascending, pixels.
    """
    positions = np.indices(weights.shape).reshape(2, -1)
    covariance = np.cov(positions, aweights=weights.ravel(), ddof=0)
    return np.sqrt(np.linalg.eigvalsh(covariance).clip(0))


def _pad_to(kernel: np.ndarray, size: int) -> np.ndarray:
    return np.pad(kernel, (size - len(kernel)) // 2)


def _crop_border(kernel: np.ndarray, size: int) -> np.ndarray:
    """Middle `(size, size)` of a kernel, divided by its sum."""
    margin = (len(kernel) - size) // 2
    inner = kernel[margin : margin + size, margin : margin + size]
    return inner / inner.sum()
