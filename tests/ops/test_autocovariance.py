"""Autocovariance of noise from spectra, against closed forms."""

import numpy as np
import pytest
import torch
from scipy.signal import correlate2d

from usrdu_basicsr.ops.autocovariance import MAX_LAG, autocovariance_spectrum, fit_autocovariance
from usrdu_basicsr.ops.spectrum import frequency_halves, frequency_radius, patch_spectrum


def filter_autocovariance(taps: np.ndarray) -> torch.Tensor:
    """Autocovariance of white unit noise after a filter of at most 4 taps a side."""
    full = correlate2d(taps, taps)
    return torch.from_numpy(np.pad(full, MAX_LAG - len(full) // 2))


@pytest.mark.parametrize('texture', [0, 1e-3, 1e-1])
def test_fit_returns_the_autocovariance_of_a_spectrum(texture: float):
    expected = 9 * filter_autocovariance(np.array([[0.5, 0.3, 0.1], [0.4, 0.9, 0.2], [0.0, 0.3, 0.5]]))
    power = autocovariance_spectrum(expected, 32) + texture * frequency_radius(32).clamp(min=0.03) ** -3
    torch.testing.assert_close(fit_autocovariance(power), expected, rtol=0, atol=1e-4)


def test_spectrum_of_an_autocovariance():
    expected = filter_autocovariance(np.array([[0.5, 0.3], [0.4, 0.9]]))
    transfer = torch.fft.fft2(torch.tensor([[0.5, 0.3], [0.4, 0.9]], dtype=torch.float64), s=(16, 16))
    torch.testing.assert_close(autocovariance_spectrum(expected, 16), transfer.abs().square())
    white = torch.zeros(7, 7)
    white[3, 3] = 5
    torch.testing.assert_close(autocovariance_spectrum(white, 8), torch.full((8, 8), 5.0))


def test_fit_of_measured_spectra_of_noise():
    generator = torch.Generator().manual_seed(0)
    taps = np.array([[0.1, 0.2, 0.1], [0.2, 0.8, 0.2], [0.1, 0.2, 0.1]])
    noise = torch.randn(3000, 1, 34, 34, generator=generator)
    noise = torch.nn.functional.conv2d(noise, torch.from_numpy(taps).float()[None, None])[:, 0]
    expected = filter_autocovariance(taps).float()
    fitted = fit_autocovariance(patch_spectrum(noise).abs().square().mean(0))
    torch.testing.assert_close(fitted, expected, rtol=0, atol=0.02 * float(expected.max()))


def test_halves_of_the_frequencies_are_symmetric_and_complete():
    first, second = frequency_halves(32)
    assert (first ^ second).all() and int(first.sum()) == 2 * 15 * 15
    for half in (first, second):
        torch.testing.assert_close(half, half.flip(0, 1).roll((1, 1), (0, 1)))  # a frequency and its conjugate
