"""Noise estimation."""

from torch import Tensor


def noise_level(x: Tensor) -> Tensor:
    """Standard deviation of the noise: median absolute diagonal Haar wavelet coefficient, divided by 0.6745.

    Edges and texture hardly change a median, so images of different content are comparable (Donoho & Johnstone, "Ideal
    spatial adaptation by wavelet shrinkage", Biometrika 1994). JPEG smooths noise and lowers the estimate.

    Args:
        x: `(N, C, H, W)`.

    Returns:
        `(N,)`, in the units of `x`.
    """
    detail = (x[..., :-1, :-1] - x[..., 1:, :-1] - x[..., :-1, 1:] + x[..., 1:, 1:]) / 2
    return detail.abs().flatten(1).median(dim=1).values / 0.6745
