"""Power spectra of patches."""

import torch
from torch import Tensor


def patch_spectrum(x: Tensor) -> Tensor:
    """Fourier transform of each patch with a Hann window and without its weighted mean.

    Its squared magnitude is a periodogram: white noise of variance v has the expected value v at each frequency, except
    at the lowest ones.

    Args:
        x: `(..., P, P)`.

    Returns:
        `(..., P, P)`, complex, frequencies in the order of `torch.fft.fft2`, in the units of `x`.
    """
    size = x.shape[-1]
    window = torch.hann_window(size + 2, periodic=False, dtype=x.dtype, device=x.device)[1:-1]
    window = torch.outer(window, window)
    window = window / window.square().mean().sqrt()
    mean = (x * window).sum((-2, -1), keepdim=True) / window.sum()
    return torch.fft.fft2((x - mean) * window) / size


def frequency_halves(size: int) -> tuple[Tensor, Tensor]:
    """Two masks `(size, size)` that divide the frequencies by direction, so that noise in them is independent."""
    frequencies = torch.fft.fftfreq(size)
    frequencies[frequencies == -0.5] = 0  # both signs are one frequency
    half = torch.outer(frequencies, frequencies) < 0
    return half, ~half


def frequency_radius(size: int) -> Tensor:
    """Distance of each frequency of `torch.fft.fft2` from 0, `(size, size)`, cycles per pixel."""
    frequencies = torch.fft.fftfreq(size)
    return torch.hypot(frequencies[:, None], frequencies)
