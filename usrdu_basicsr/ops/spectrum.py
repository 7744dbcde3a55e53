"""Power spectra of patches."""

import torch
from torch import Tensor


def power_spectrum(x: Tensor) -> Tensor:
    """Periodogram of each patch with a Hann window and without its weighted mean.

    White noise of variance v has the expected value v at each frequency, except at the lowest ones.

    Args:
        x: `(N, P, P)`.

    Returns:
        `(N, P, P)`, frequencies in the order of `torch.fft.fft2`, in the squared units of `x`.
    """
    size = x.shape[-1]
    window = torch.hann_window(size + 2, periodic=False, dtype=x.dtype, device=x.device)[1:-1]
    window = torch.outer(window, window)
    window = window / window.square().mean().sqrt()
    mean = (x * window).sum((-2, -1), keepdim=True) / window.sum()
    return torch.fft.fft2((x - mean) * window).abs().square() / size**2


def frequency_radius(size: int) -> Tensor:
    """Distance of each frequency of `torch.fft.fft2` from 0, `(size, size)`, cycles per pixel."""
    frequencies = torch.fft.fftfreq(size)
    return torch.hypot(frequencies[:, None], frequencies)
