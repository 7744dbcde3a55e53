"""Estimate the noise of an image."""

from __future__ import annotations

from torch import Tensor


def noise_level(x: Tensor) -> Tensor:
    """Standard deviation of the noise: median absolute diagonal detail of the Haar wavelet, over 0.6745.

    Edges and texture hardly move a median, so images of different content compare (Donoho & Johnstone, "Ideal spatial
    adaptation by wavelet shrinkage", Biometrika 1994). JPEG smooths noise, and the estimate with it.

    Args:
        x: `(N, C, H, W)`.

    Returns:
        `(N,)`, in the units of `x`.
    """
    detail = (x[..., :-1, :-1] - x[..., 1:, :-1] - x[..., :-1, 1:] + x[..., 1:, 1:]) / 2
    return detail.abs().flatten(1).median(dim=1).values / 0.6745
