"""Bicubic downsampling equal to MATLAB's `imresize`: batched, differentiable, on any device."""

import torch
from torch import Tensor
from torch.nn import functional as F


def check_multiple(x: Tensor, scale: int) -> None:
    """Raise a ValueError if the height or width of `x` is not a multiple of `scale`."""
    height, width = x.shape[-2:]
    if height % scale or width % scale:
        raise ValueError(f'image size {height}x{width} is not a multiple of scale {scale}. Crop the image first')


def symmetric_pad(x: Tensor, margin: int) -> Tensor:
    """Pad the last two axes by mirroring including the edge pixel (half-sample symmetric, as in MATLAB)."""
    for axis in (-2, -1):
        size = x.shape[axis]
        index = torch.arange(-margin, size + margin, device=x.device) % (2 * size)
        x = x.index_select(axis, torch.where(index < size, index, 2 * size - 1 - index))
    return x


def bicubic_downsample(x: Tensor, scale: int) -> Tensor:
    """MATLAB's `imresize(x, 1 / scale, 'bicubic')`: antialiased, a = -0.5, symmetric borders, no rounding.

    Args:
        x: `(N, C, H, W)`, H and W multiples of `scale`.
        scale: Integer downsampling factor; 1 returns `x`.

    Returns:
        `(N, C, H / scale, W / scale)`; sharp edges may exceed the range of `x`.

    Raises:
        ValueError: If H or W is not a multiple of `scale`.
    """
    if scale == 1:
        return x
    check_multiple(x, scale)
    # The antialiased cubic spans 2 * scale pixels on each side. The margin must be a multiple of the scale.
    padded = symmetric_pad(x, 2 * scale)
    size = (padded.shape[-2] // scale, padded.shape[-1] // scale)
    return F.interpolate(padded, size=size, mode='bicubic', antialias=True, align_corners=False)[..., 2:-2, 2:-2]
