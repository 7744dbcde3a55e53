"""Bicubic reduction, equal to MATLAB's `imresize`, on any device, batched and differentiable."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def symmetric_pad(x: Tensor, margin: int) -> Tensor:
    """Pad the last two axes by mirroring with the edge pixel repeated (half-sample symmetric, as MATLAB does)."""
    for axis in (-2, -1):
        size = x.shape[axis]
        index = torch.arange(-margin, size + margin, device=x.device) % (2 * size)
        x = x.index_select(axis, torch.where(index < size, index, 2 * size - 1 - index))
    return x


def bicubic_downsample(x: Tensor, scale: int) -> Tensor:
    """MATLAB's `imresize(x, 1 / scale, 'bicubic')`: antialiased, a = -0.5, symmetric borders, no rounding.

    Args:
        x: `(N, C, H, W)`, H and W multiples of `scale`.
        scale: Whole reduction factor; 1 returns `x`.

    Returns:
        `(N, C, H / scale, W / scale)`; a sharp edge may overshoot the range of `x`.

    Raises:
        ValueError: H or W is not a multiple of `scale`.
    """
    if scale == 1:
        return x
    height, width = x.shape[-2:]
    if height % scale or width % scale:
        raise ValueError(f'image of {height}x{width} pixels is not a multiple of scale {scale}: crop it first')
    # The reduced cubic reaches 2 * scale pixels to each side; the margin must be a multiple of the scale.
    margin = 2 * scale
    size = (height // scale + 4, width // scale + 4)
    reduced = F.interpolate(symmetric_pad(x, margin), size=size, mode='bicubic', antialias=True, align_corners=False)
    return reduced[..., 2:-2, 2:-2]
