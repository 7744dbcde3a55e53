"""Noise of a camera from the spectra of its flattest patches: level, correlation, and dependence on brightness."""

from dataclasses import dataclass

import torch
from torch import Tensor

from usrdu_basicsr.archs.camera_noise import KNOTS
from usrdu_basicsr.degradation.patch_spectra import COVARIANCE_BAND, PATCH, PatchSpectra
from usrdu_basicsr.ops.autocovariance import autocovariance_spectrum, fit_autocovariance
from usrdu_basicsr.ops.spectrum import frequency_halves, frequency_radius
from usrdu_basicsr.utils.errors import InputError

FLAT_SHARE, MIN_FLAT = 0.01, 30  # share and number of patches that are regarded as flat
MAX_CLIPPED, LEAST_CLIPPED = 0.002, 100  # usable patches: clipped share, or number if too few have less
UNUSABLE = 0.5  # clipped share of patches that are never used
# Frequencies in cycles per pixel
LOW, LOWER, UPPER = 0.06, 0.3, 0.4
BIN_SHARE, MIN_IN_BIN = 0.05, 10  # share and number of flat patches of a bin; bins with fewer patches have no value
ROUNDING = 1 / 12  # variance of rounding to 8 bits, squared gray levels
LEAST_POWER = 1e-6  # squared gray levels; an image or a channel may have no noise at all
VISIBLE = 1.0  # gray levels; weaker noise is compared with this level
MIN_COLOR = 1.3  # variance of noise that is not white, relative to its power above `UPPER`


@dataclass(frozen=True)
class Noise:
    """Noise of a camera.

    Attributes:
        variance: `(3,)` RGB, squared gray levels.
        autocorrelation: `(7, 7)`, mean of the channels, 1 in the middle.
        color_correlation: `(3, 3)` RGB.
        curve: `(KNOTS, 3)`, variance of patches by brightness, at the centres of equal bins from 0 to 255; NaN for bins
            with few patches.
        flatness: Power of the flat patches above 0.4 cycles per pixel relative to that below 0.3; 1 for white noise
            without texture.
    """

    variance: Tensor
    autocorrelation: Tensor
    color_correlation: Tensor
    curve: Tensor
    flatness: float

    @property
    def is_white(self) -> bool:
        """Whether no correlation of pixels was found."""
        return int(self.autocorrelation.count_nonzero()) == 1

    @property
    def neighbours(self) -> tuple[float, float]:
        """Correlation of horizontal and of vertical neighbours."""
        middle = len(self.autocorrelation) // 2
        return float(self.autocorrelation[middle, middle + 1]), float(self.autocorrelation[middle + 1, middle])

    def level_error(self, generated: 'Noise') -> float:
        """Largest difference of the level of a channel, relative to that of this noise or `VISIBLE`."""
        level, other = (each.variance.clamp(min=ROUNDING).sqrt() for each in (self, generated))
        return float(((other - level).abs() / level.clamp(min=VISIBLE)).max())

    def correlation_error(self, generated: 'Noise') -> float:
        """Largest difference of the autocorrelations."""
        return float((generated.autocorrelation - self.autocorrelation).abs().max())

    def spectrum(self, size: int) -> Tensor:
        """Power spectrum, mean of the channels, `(size, size)`, squared gray levels."""
        return autocovariance_spectrum(self.autocorrelation * self.variance.mean(), size)


class NoiseEstimator:
    """Estimator of the noise for any weights of the images, for intervals by the bootstrap.

    Flat patches are those with the least power in one half of the frequency plane. Their noise is measured in the other
    half, where the selection does not bias it.

    Args:
        spectra: Spectra of LR images.
    """

    def __init__(self, spectra: PatchSpectra) -> None:
        self.spectra = spectra
        self.radius, self.halves = frequency_radius(PATCH), frequency_halves(PATCH)
        power = spectra.power.mean(1)
        self.order = [power[:, half & (self.radius > LOW)].mean(-1).argsort() for half in self.halves]
        low = (self.radius > LOW) & (self.radius <= LOWER)
        self.low_order = power[:, low].mean(-1).argsort()
        least = spectra.clipped.kthvalue(min(LEAST_CLIPPED, len(spectra.clipped))).values
        self.usable = spectra.clipped <= least.clamp(MAX_CLIPPED, UNUSABLE)
        self.bin = (spectra.brightness.mean(1) * KNOTS / 256).long()

    def __call__(self, image_weights: Tensor) -> Noise | None:
        """Estimate the noise.

        Args:
            image_weights: `(images,)`, how often each image counts.

        Returns:
            None if these images have no usable patch.
        """
        weights = image_weights[self.spectra.image] * self.usable
        if not weights.any():
            return None
        needed = max(MIN_FLAT, FLAT_SHARE * float(weights.sum()))
        power, covariance = self._flat_patches(weights, needed)
        flat, shares = _first(self.low_order, weights, needed)
        upper = torch.tensordot(shares, self.spectra.noise_power[flat], 1)[:, self.radius > UPPER].mean(-1)
        autocovariance = fit_autocovariance(torch.cat([power, power.mean(0, keepdim=True)]))
        middle = autocovariance.shape[-1] // 2
        fitted = autocovariance[:, middle, middle]
        white = bool(fitted[3] <= MIN_COLOR * upper.mean())
        if white:
            autocorrelation = torch.zeros_like(autocovariance[3])
            autocorrelation[middle, middle] = 1
            variance = upper  # the highest frequencies have the least texture
        else:
            autocorrelation = autocovariance[3] / fitted[3]
            variance = fitted[:3].maximum(upper)
        band = self.radius > (UPPER if white else COVARIANCE_BAND)
        lower = power[:, (self.radius > LOW) & (self.radius <= LOWER)].mean(-1)
        deviation = covariance.diagonal().clamp(min=LEAST_POWER).sqrt()
        color_correlation = covariance / torch.outer(deviation, deviation)
        color_correlation.fill_diagonal_(1)  # of a channel without noise, too
        return Noise(
            variance.clamp(min=LEAST_POWER),
            autocorrelation,
            color_correlation,
            self._curve(weights, band) * variance / power[:, band].mean(-1),
            float((upper / lower).mean()),
        )

    def flattest(self, count: int) -> Tensor:
        """Pixels of the flattest usable patches, `(N, 3, P, P)` uint8, RGB, at most `count`."""
        order = self.low_order[self.usable[self.low_order]]
        return self.spectra.pixels[order[:count]]

    def _flat_patches(self, weights: Tensor, needed: float) -> tuple[Tensor, Tensor]:
        """Average spectrum `(3, P, P)` and covariance `(3, 3)` of the flattest patches with a total weight `needed`."""
        power, covariance = torch.zeros(3, PATCH, PATCH), torch.zeros(3, 3)
        for half, other in ((0, 1), (1, 0)):
            flat, shares = _first(self.order[half], weights, needed)
            mask = self.halves[other]
            power[:, mask] = torch.tensordot(shares, self.spectra.noise_power[flat], 1)[:, mask]
            covariance += torch.tensordot(shares, self.spectra.covariance[flat, other], 1) / 2
        return power.clamp(min=LEAST_POWER), covariance

    def _curve(self, weights: Tensor, band: Tensor) -> Tensor:
        """Average power in a band of the flat patches of each bin of brightness, `(KNOTS, 3)`."""
        curve = torch.full((KNOTS, 3), torch.nan)
        for number in range(KNOTS):
            inside = weights * (self.bin == number)
            if (total := float(inside.sum())) >= 2 * MIN_IN_BIN:
                power, _ = self._flat_patches(inside, max(MIN_IN_BIN, BIN_SHARE * total))
                curve[number] = power[:, band].mean(-1)
        return curve


def noise_of(spectra: PatchSpectra, name: str) -> Noise:
    """Noise of all images; an InputError that starts with `name` if all patches are black or white."""
    noise = NoiseEstimator(spectra)(torch.ones(spectra.images))
    if noise is None:
        raise InputError(f'{name}: got no patch that is neither black nor white, expected images of scenes. Add images')
    return noise


def _first(order: Tensor, weights: Tensor, needed: float) -> tuple[Tensor, Tensor]:
    """First patches of an order with a total weight of `needed`: their indices, and weights that sum to 1."""
    order = order[weights[order] > 0]
    ordered = weights[order]
    first = order[ordered.cumsum(0) - ordered < needed]
    return first, weights[first] / weights[first].sum()
