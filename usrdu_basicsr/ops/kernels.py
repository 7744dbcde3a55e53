"""Blur kernels: their centre of mass, and reducing images with one kernel an image."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from usrdu_basicsr.ops.resize import symmetric_pad


def centre_of_mass(kernels: Tensor) -> Tensor:
    """Row and column of the centre of mass, in pixels from the middle of the first one.

    Args:
        kernels: `(N, H, W)`.

    Returns:
        `(N, 2)`; not finite where a kernel sums to 0.
    """
    total = kernels.sum((1, 2))
    rows = torch.arange(kernels.shape[1], dtype=kernels.dtype, device=kernels.device)
    columns = torch.arange(kernels.shape[2], dtype=kernels.dtype, device=kernels.device)
    # not as matrix products, whose rounding may depend on N
    moments = [(kernels.sum(2) * rows).sum(1), (kernels.sum(1) * columns).sum(1)]
    return torch.stack(moments, 1) / total[:, None]


def correlate_each(x: Tensor, kernels: Tensor, stride: int) -> Tensor:
    """Correlate every channel of each image with that image's own kernel and take every `stride`-th pixel.

    Args:
        x: `(N, C, H, W)`, not padded.
        kernels: `(N, k, k)`, of the type and on the device of `x`.
        stride: 1 takes every pixel.

    Returns:
        `(N, C, (H - k) // stride + 1, (W - k) // stride + 1)`.
    """
    # Images as groups, colours as the batch
    return F.conv2d(x.transpose(0, 1), kernels[:, None], stride=stride, groups=len(kernels)).transpose(0, 1)


def kernel_downsample(x: Tensor, kernels: Tensor, scale: int) -> Tensor:
    """Correlate each image with its own kernel and take every `scale`-th pixel from the first on; no rounding.

    Borders are mirrored with the edge pixel repeated, and tap `k // 2` meets the pixel that is taken, as
    `scipy.ndimage.correlate` has both by default. KernelGAN's kernels hold the shift that centres an LR pixel on its
    `scale` x `scale` HR pixels.

    Args:
        x: `(N, C, H, W)`, H and W multiples of `scale`.
        kernels: `(N, k, k)`, k odd, of the type and on the device of `x`.
        scale: Whole reduction factor.

    Returns:
        `(N, C, H / scale, W / scale)`.

    Raises:
        ValueError: H or W is not a multiple of `scale`, or the kernels are not one square of odd size an image.
    """
    (height, width), size = x.shape[-2:], kernels.shape[-1]
    if height % scale or width % scale:
        raise ValueError(f'image of {height}x{width} pixels is not a multiple of scale {scale}: crop it first')
    if kernels.shape != (len(x), size, size) or size % 2 == 0:
        raise ValueError(f'kernels of shape {tuple(kernels.shape)}: expected ({len(x)}, k, k) with an odd k')
    return correlate_each(symmetric_pad(x, size // 2), kernels, scale)
