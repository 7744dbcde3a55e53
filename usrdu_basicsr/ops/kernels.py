"""Blur kernels: their centre of mass, and downsampling with one kernel for each image."""

import torch
from torch import Tensor
from torch.nn import functional as F

from usrdu_basicsr.ops.resize import check_multiple, symmetric_pad


def centre_of_mass(kernels: Tensor) -> Tensor:
    """Row and column of the centre of mass, in pixels from the centre of the first pixel.

    Args:
        kernels: `(N, H, W)`.

    Returns:
        `(N, 2)`; non-finite for kernels that sum to 0.
    """
    total = kernels.sum((1, 2))
    rows = torch.arange(kernels.shape[1], dtype=kernels.dtype, device=kernels.device)
    columns = torch.arange(kernels.shape[2], dtype=kernels.dtype, device=kernels.device)
    # no matrix products, because their rounding may depend on N
    moments = [(kernels.sum(2) * rows).sum(1), (kernels.sum(1) * columns).sum(1)]
    return torch.stack(moments, 1) / total[:, None]


def correlate_each(x: Tensor, kernels: Tensor, stride: int) -> Tensor:
    """Correlate every channel of each image with the kernel of that image, without padding.

    Args:
        x: `(N, C, H, W)`.
        kernels: `(N, k, k)`, same dtype and device as `x`.
        stride: Step between output pixels.

    Returns:
        `(N, C, (H - k) // stride + 1, (W - k) // stride + 1)`.
    """
    # Images are the groups, colour channels are the batch
    return F.conv2d(x.transpose(0, 1), kernels[:, None], stride=stride, groups=len(kernels)).transpose(0, 1)


def camera_downsample(x: Tensor, kernel: Tensor, scale: int) -> Tensor:
    """`kernel_downsample` with one kernel for all images, in the precision of the kernel also under autocast.

    Args:
        x: `(N, C, H, W)`, H and W multiples of `scale`.
        kernel: `(k, k)`, k odd.
        scale: Integer downsampling factor.

    Returns:
        `(N, C, H / scale, W / scale)` in the data type of the kernel.

    Raises:
        ValueError: As `kernel_downsample`.
    """
    with torch.autocast(x.device.type, enabled=False):
        return kernel_downsample(x.to(kernel.dtype), kernel.expand(len(x), -1, -1), scale)


def kernel_downsample(x: Tensor, kernels: Tensor, scale: int) -> Tensor:
    """Correlate each image with its own kernel and take every `scale`-th pixel from the first on; no rounding.

    Borders are mirrored including the edge pixel, and tap `k // 2` is aligned with the sampled pixel. These are the
    defaults of `scipy.ndimage.correlate`. KernelGAN's kernels include the shift that centres an LR pixel on its
    `scale` x `scale` HR pixels.

    Args:
        x: `(N, C, H, W)`, H and W multiples of `scale`.
        kernels: `(N, k, k)`, k odd, same dtype and device as `x`.
        scale: Integer downsampling factor.

    Returns:
        `(N, C, H / scale, W / scale)`.

    Raises:
        ValueError: If H or W is not a multiple of `scale`, or `kernels` is not one odd-sized square for each image.
    """
    check_multiple(x, scale)
    size = kernels.shape[-1]
    if kernels.shape != (len(x), size, size) or size % 2 == 0:
        raise ValueError(f'kernels: got shape {tuple(kernels.shape)}, expected ({len(x)}, k, k) with an odd k')
    return correlate_each(symmetric_pad(x, size // 2), kernels, scale)
