"""Noise level of a camera from the spectra of its flattest patches."""

from dataclasses import dataclass

import torch
from torch import Tensor

from usrdu_basicsr.degradation.patch_spectra import PATCH, PatchSpectra
from usrdu_basicsr.ops.spectrum import frequency_radius

FLAT_SHARE, MIN_FLAT = 0.01, 30  # share and number of patches that are regarded as flat
MAX_CLIPPED, LEAST_CLIPPED = 0.002, 100  # usable patches: clipped share, or number if too few have less
# Bands of frequencies in cycles per pixel: one selects flat patches, another one measures, so that the selection of
# patches with little power does not bias the measurement
SELECTION, LOWER, UPPER = (0.06, 0.3), (0.3, 0.4), (0.4, 1.0)


@dataclass(frozen=True)
class Noise:
    """Noise of a camera.

    Attributes:
        variance: `(3,)` RGB, squared gray levels.
        colour: Variance at frequencies of 0.3 to 0.4 cycles per pixel relative to that above; 1 for white noise.
        flatness: Variance relative to the power of the flat patches at lower frequencies; 1 if they have noise only.
    """

    variance: Tensor
    colour: float
    flatness: float


class NoiseEstimator:
    """Estimator of the noise for any weights of the images, for intervals by the bootstrap.

    Args:
        spectra: Spectra of LR images.
    """

    def __init__(self, spectra: PatchSpectra) -> None:
        radius = frequency_radius(PATCH)
        self.image = spectra.image
        low, lower, upper = (
            spectra.power[..., (radius > start) & (radius <= end)].mean(-1) for start, end in (SELECTION, LOWER, UPPER)
        )
        self.bands = torch.stack([low, lower, upper], -1)  # (N, 3, 3): patch, channel, band
        least = spectra.clipped.kthvalue(min(LEAST_CLIPPED, len(spectra.clipped))).values
        self.usable = spectra.clipped <= least.clamp(min=MAX_CLIPPED)

    def __call__(self, image_weights: Tensor) -> Noise:
        """Estimate the noise.

        Args:
            image_weights: `(images,)`, how often each image counts.
        """
        weights = image_weights[self.image] * self.usable
        needed = max(MIN_FLAT, FLAT_SHARE * float(weights.sum()))
        bands = []
        for channel in range(3):
            order = self.bands[:, channel, 0].argsort()
            ordered = weights[order]
            flat = order[(ordered.cumsum(0) - ordered < needed) & (ordered > 0)]
            bands.append((self.bands[flat, channel] * weights[flat, None]).sum(0) / weights[flat].sum())
        low, lower, upper = torch.stack(bands).T
        return Noise(upper, float((lower / upper).mean()), float((upper / low).mean()))
