"""Gaussian low-pass and high-pass filters that separate an image's content from its degradation."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional as F


@lru_cache(maxsize=32)
def gaussian_window(kernel_size: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """The Gaussian low-pass. Built once per size, dtype and device.

    Args:
        kernel_size: Taps on each axis, odd. Sigma is `kernel_size / 6`, so the window spans three sigmas on each side.
        dtype: Of the result.
        device: Of the result.

    Returns:
        `(kernel_size, kernel_size)`, sums to 1.

    Raises:
        ValueError: `kernel_size` is even or below 1.
    """
    if kernel_size < 1 or kernel_size % 2 == 0:
        raise ValueError(f'kernel_size must be an odd number from 1 on, got {kernel_size}')
    with torch.inference_mode(False):  # a tensor made for inference could not serve a later training step
        offset = torch.arange(kernel_size, dtype=torch.float64) - (kernel_size - 1) / 2
        window = torch.exp(-0.5 * (offset / (kernel_size / 6)) ** 2)
        window /= window.sum()
        return torch.outer(window, window).to(device=device, dtype=dtype)


def low_pass(x: Tensor, kernel_size: int = 5, padding: bool = False) -> Tensor:
    """Gaussian low-pass of each channel.

    Args:
        x: `(N, C, H, W)`.
        kernel_size: Taps on each axis, odd; sigma is `kernel_size / 6` pixels.
        padding: Pad with zeros so that the size is kept; otherwise only whole windows count.

    Returns:
        `(N, C, H, W)` with padding, else `(N, C, H - kernel_size + 1, W - kernel_size + 1)`.

    Raises:
        ValueError: `kernel_size` is even.
        RuntimeError: `x` is smaller than the window and not padded.
    """
    channels, margin = x.shape[1], kernel_size // 2 if padding else 0
    weight = gaussian_window(kernel_size, x.dtype, x.device).expand(channels, 1, kernel_size, kernel_size)
    return F.conv2d(x, weight, padding=margin, groups=channels)


def high_pass(x: Tensor, kernel_size: int = 5, gain: float = 1.0) -> Tensor:
    """What the low-pass leaves out, centred on mid-gray: `0.5 + 0.5 * gain * (x - low_pass(x))`, zero padded.

    Noise, compression artefacts and sharpness live here; colours do not, so a discriminator that sees only
    this cannot change them (Fritsche et al., "Frequency Separation for Real-World Super-Resolution", 2019).

    Args:
        x: `(N, C, H, W)` in [0, 1].
        kernel_size: Taps of the low-pass.
        gain: Amplification, 1 as published.

    Returns:
        The shape of `x`.
    """
    return 0.5 + 0.5 * gain * (x - low_pass(x, kernel_size, padding=True))
