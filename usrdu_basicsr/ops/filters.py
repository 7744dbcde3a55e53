"""Gaussian low-pass, high-pass and gradient filters."""

from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional as F


def check_kernel_size(kernel_size: int) -> None:
    """Check that a window has a centre; a ValueError if `kernel_size` is even or below 1."""
    if kernel_size < 1 or kernel_size % 2 == 0:
        raise ValueError(f'kernel_size: got {kernel_size}, expected a positive odd integer')


@lru_cache(maxsize=32)
def gaussian_window(kernel_size: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Gaussian low-pass kernel, cached for each size, dtype and device.

    Args:
        kernel_size: Taps on each axis, odd. Sigma is `kernel_size / 6`, so the window spans three sigmas on each side.
        dtype: Data type of the returned tensor.
        device: Device of the returned tensor.

    Returns:
        `(kernel_size, kernel_size)`, sums to 1.

    Raises:
        ValueError: If `kernel_size` is even or below 1.
    """
    check_kernel_size(kernel_size)
    with torch.inference_mode(False):  # a cached inference tensor could not be used in a later training step
        offset = torch.arange(kernel_size, dtype=torch.float64) - (kernel_size - 1) / 2
        window = torch.exp(-0.5 * (offset / (kernel_size / 6)) ** 2)
        window /= window.sum()
        return torch.outer(window, window).to(device=device, dtype=dtype)


def low_pass(x: Tensor, kernel_size: int = 5, padding: bool = False) -> Tensor:
    """Gaussian low-pass of each channel.

    Args:
        x: `(N, C, H, W)`.
        kernel_size: Taps on each axis, odd; sigma is `kernel_size / 6` pixels.
        padding: Pad with zeros to keep the size. By default only complete windows contribute.

    Returns:
        `(N, C, H, W)` with padding, otherwise `(N, C, H - kernel_size + 1, W - kernel_size + 1)`.

    Raises:
        ValueError: If `kernel_size` is even.
        RuntimeError: If `x` is smaller than the window and not padded.
    """
    channels, margin = x.shape[1], kernel_size // 2 if padding else 0
    weight = gaussian_window(kernel_size, x.dtype, x.device).expand(channels, 1, kernel_size, kernel_size)
    return F.conv2d(x, weight, padding=margin, groups=channels)


def high_pass(x: Tensor, kernel_size: int = 5, gain: float = 1.0) -> Tensor:
    """High frequencies, centred on mid-gray: `0.5 + 0.5 * gain * (x - low_pass(x))`, zero padded.

    They contain noise, compression artefacts and sharpness but no colours, so a discriminator that sees only this image
    cannot change colours (Fritsche et al., "Frequency Separation for Real-World Super-Resolution", 2019).

    Args:
        x: `(N, C, H, W)` in [0, 1].
        kernel_size: Taps of the low-pass.
        gain: Amplification; 1 in the published method.

    Returns:
        Tensor of the same shape as `x`.
    """
    return 0.5 + 0.5 * gain * (x - low_pass(x, kernel_size, padding=True))


def gradient_image(x: Tensor) -> Tensor:
    """Forward differences |dx| + |dy| of each channel; dx is 0 in the last column, dy in the last row.

    Args:
        x: `(N, C, H, W)`.

    Returns:
        `(N, C, H, W)`, from 0 to twice the range of `x`.
    """
    dx = F.pad((x[..., :, 1:] - x[..., :, :-1]).abs(), (0, 1, 0, 0))
    dy = F.pad((x[..., 1:, :] - x[..., :-1, :]).abs(), (0, 0, 0, 1))
    return dx + dy
