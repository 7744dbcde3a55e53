"""Autocovariance of noise from its power spectrum."""

from functools import cache

import torch
from torch import Tensor

from usrdu_basicsr.ops.spectrum import frequency_radius

MAX_LAG = 3  # pixels; noise is regarded as uncorrelated beyond
LOWEST = 0.1  # cycles per pixel, lowest frequency that is fitted
TEXTURE_DECAY = 3  # the power of residual texture falls with this power of the frequency
ITERATIONS = 4  # of the reweighted fit


def fit_autocovariance(power: Tensor) -> Tensor:
    """Fit the autocovariance of noise to the power spectrum of patches with little texture.

    The model is the spectrum of noise whose autocovariance vanishes beyond `MAX_LAG`, plus texture whose power falls
    with the third power of the frequency. Bins are weighted by the inverse of the model, as the standard deviation of
    a periodogram is proportional to its mean.

    Args:
        power: `(..., P, P)`, frequencies in the order of `torch.fft.fft2`.

    Returns:
        `(..., 2 * MAX_LAG + 1, 2 * MAX_LAG + 1)`, variance in the middle, in the units of `power`.
    """
    design, used, index = _model(power.shape[-1])
    values = power[..., used].double()
    weights = 1 / values.mean(-1, keepdim=True).expand_as(values)
    for _ in range(ITERATIONS):
        scaled = design * weights[..., None]
        # The normal equations of few unknowns are solved much faster than the least squares problem
        normal, right = scaled.mT @ scaled, scaled.mT @ (values * weights)[..., None]
        coefficients = torch.linalg.solve(normal, right)[..., 0]
        model = coefficients @ design.T
        weights = 1 / model.clamp(min=0.02 * values.mean(-1, keepdim=True))
    return coefficients[..., index].to(power.dtype)


def autocovariance_spectrum(autocovariance: Tensor, size: int) -> Tensor:
    """Power spectrum of an autocovariance.

    Args:
        autocovariance: `(..., n, n)`, n odd, variance in the middle.
        size: Side of the spectrum, at least n.

    Returns:
        `(..., size, size)`, at least 0, frequencies in the order of `torch.fft.fft2`.
    """
    side = autocovariance.shape[-1]
    padded = torch.nn.functional.pad(autocovariance, (0, size - side) * 2).roll((-(side // 2),) * 2, (-2, -1))
    return torch.fft.fft2(padded).real.clamp(min=0)


@cache
def _model(size: int) -> tuple[Tensor, Tensor, Tensor]:
    """Columns of the model at the fitted frequencies, mask of these, and column of each lag `(n, n)`."""
    radius, frequency = frequency_radius(size).double(), torch.fft.fftfreq(size, dtype=torch.float64)
    used = radius > LOWEST
    lags = [(y, x) for y in range(MAX_LAG + 1) for x in range(-MAX_LAG, MAX_LAG + 1) if y > 0 or x >= 0]
    phases = [2 * torch.pi * (y * frequency[:, None] + x * frequency) for y, x in lags]
    columns = [phase.cos() * (1 if lag == (0, 0) else 2) for phase, lag in zip(phases, lags, strict=True)]
    texture = radius.clamp(min=LOWEST) ** -TEXTURE_DECAY
    design = torch.stack([*columns, texture / texture[used].mean()], -1)[used]
    numbers = {lag: number for number, lag in enumerate(lags)}
    sides = range(-MAX_LAG, MAX_LAG + 1)
    index = [[numbers.get((y, x), numbers.get((-y, -x), 0)) for x in sides] for y in sides]
    return design, used, torch.tensor(index)
