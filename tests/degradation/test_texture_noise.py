"""Power that noise and blur do not explain, on spectra of known transfer functions."""

import pytest
import torch
from torch import Tensor

from usrdu_basicsr.degradation.patch_spectra import PATCH
from usrdu_basicsr.degradation.texture_noise import unexplained_power
from usrdu_basicsr.ops.spectrum import frequency_radius

RADIUS = frequency_radius(PATCH)
HR = 100 / RADIUS.clamp(min=0.03) ** 2
NOISE = torch.full((PATCH, PATCH), 9.0)
Y, X = (torch.fft.fftfreq(PATCH).reshape(shape) for shape in ((-1, 1), (1, -1)))


def transfer(shape: str) -> Tensor:
    if shape == 'anisotropic':
        return (-20 * X**2 - 12 * Y**2 - 10 * X * Y).exp()
    if shape == 'sharpened':
        return (8 * RADIUS**2 - 120 * RADIUS**4).exp()
    return torch.ones(PATCH, PATCH)


@pytest.mark.parametrize('shape', ['bicubic', 'anisotropic', 'sharpened'])
@pytest.mark.parametrize('power', [0.0, 4.0])
def test_white_power_is_found_and_blur_is_not_taken_for_it(shape: str, power: float):
    lr = HR * transfer(shape) + NOISE
    # real texture noise is weak at low frequencies compared with the scene
    got = unexplained_power(lr + power * (RADIUS > 0.35), NOISE, HR)
    assert got == pytest.approx(power, abs=1e-3)


def test_insignificant_power_and_noise_that_covers_the_scene():
    assert unexplained_power(HR + 1.1 * NOISE, NOISE, HR) == 0
    assert unexplained_power(HR + 1000 * NOISE + 500, 1000 * NOISE, HR) == 0
