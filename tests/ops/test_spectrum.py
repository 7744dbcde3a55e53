"""Power spectra against an explicit Fourier sum, and of white noise."""

import numpy as np
import torch

from usrdu_basicsr.ops.spectrum import frequency_radius, patch_spectrum


def power_spectrum(x: torch.Tensor) -> torch.Tensor:
    return patch_spectrum(x).abs().square()


def test_power_spectrum_equals_an_explicit_fourier_sum():
    size = 6
    x = torch.randn(2, size, size, dtype=torch.float64)
    hann = np.sin(np.pi * (np.arange(size) + 1) / (size + 1)) ** 2
    window = np.outer(hann, hann)
    window /= np.sqrt((window**2).mean())
    fourier = np.exp(-2j * np.pi * np.outer(np.arange(size), np.arange(size)) / size)
    for patch, power in zip(x.numpy(), power_spectrum(x).numpy(), strict=True):
        centred = (patch - (patch * window).sum() / window.sum()) * window
        np.testing.assert_allclose(power, np.abs(fourier @ centred @ fourier) ** 2 / size**2, atol=1e-10)


def test_spectrum_of_white_noise_is_its_variance():
    power = power_spectrum(3 * torch.randn(4000, 16, 16)).mean(0)
    radius = frequency_radius(16)
    assert radius[0, 0] == 0 and radius[8, 8] == torch.tensor(0.5**0.5) and radius[0, 1] == radius[15, 0] == 1 / 16
    torch.testing.assert_close(power[radius > 0.15], torch.full_like(power[radius > 0.15], 9), rtol=0.12, atol=0)
    assert abs(power[radius > 0.15].mean() - 9) < 0.1


def test_constant_and_gradient_patches_have_no_high_frequencies():
    ramp = torch.arange(32.0).expand(1, 32, 32)
    power = power_spectrum(torch.cat([torch.full((1, 32, 32), 200.0), ramp]))
    assert power[0].max() < 1e-6 and power[1][frequency_radius(32) > 0.3].max() < 0.01 < power[1].max()
