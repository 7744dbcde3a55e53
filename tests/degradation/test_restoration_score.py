"""The score of generated images against a regression on samples, and its order of wrong blurs and noises."""

import pytest
import torch
from torch import Tensor

from usrdu_basicsr.degradation.restoration_score import LOWEST, REGULARIZATION, restoration_score
from usrdu_basicsr.ops.spectrum import frequency_radius

SIZE = 32
RADIUS = frequency_radius(SIZE)
SCENE = 20 * RADIUS.clamp(min=1 / SIZE) ** -2


def spectra(blur: float, noise: float) -> tuple[Tensor, Tensor]:
    """Power spectra of images with a Gaussian transfer function, which is 1 where it is measured, and of the noise."""
    level = torch.full((SIZE, SIZE), noise**2)
    return SCENE * (-blur * (RADIUS - 0.08).clamp(min=0) ** 2).exp() ** 2 + level, level


def test_same_camera_and_other_contrast():
    power, noise = spectra(10, 5)
    assert restoration_score(power, noise, power, noise) == pytest.approx(100)
    assert restoration_score(power, noise, 3 * power, 3 * noise) == pytest.approx(100)


def test_second_formula():
    """Regression of scenes on generated images, applied to real ones."""
    (power, noise), (other, other_noise) = spectra(10, 3), spectra(4, 8)
    generator = torch.Generator().manual_seed(0)
    draw = lambda variance: variance.double().sqrt() * torch.randn(4000, SIZE, SIZE, generator=generator).double()  # noqa: E731
    x = draw(SCENE)
    images = [
        ((p - n) / SCENE).sqrt() * x + draw(n + REGULARIZATION) for p, n in ((power, noise), (other, other_noise))
    ]
    best, learned = ((x * y).mean(0) / y.square().mean(0) for y in images)
    best_error, error = ((x - each * images[0]).square().mean(0)[RADIUS > LOWEST].sum() for each in (best, learned))
    expected = float(100 * best_error / error)
    assert restoration_score(power, noise, other, other_noise) == pytest.approx(expected, rel=0.02)
    assert 20 < expected < 95


def test_order():
    real = spectra(10, 5)
    score = {each: restoration_score(*real, *spectra(*each)) for each in [(10, 7), (10, 12), (10, 0), (5, 5), (20, 5)]}
    assert 100 > score[10, 7] > score[10, 12] > 0 and score[10, 0] < 90
    assert score[20, 5] < score[5, 5]  # a blur that is too wide costs more


@pytest.mark.parametrize('noise', [0.0, 5.0])
def test_images_without_texture(noise: float):
    flat = torch.full((SIZE, SIZE), noise**2)
    assert restoration_score(flat, flat, flat, flat) == 100
    assert 0 <= restoration_score(*spectra(10, 5), flat, flat) < 60
