"""Estimate the noise, the blur kernel and the tone of a camera, and their uncertainty."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import nnls
from torch import Tensor

from usrdu_basicsr.archs.camera_noise import KNOTS
from usrdu_basicsr.degradation.blur_kernel import check_texture, hr_kernel, lr_kernel
from usrdu_basicsr.degradation.noise import Noise, NoiseEstimator
from usrdu_basicsr.degradation.patch_spectra import PATCH, PatchSpectra
from usrdu_basicsr.kernelgan.postprocess import axis_spreads
from usrdu_basicsr.utils.errors import InputError

CHANNELS = ('red', 'green', 'blue')
BIN_CENTRES = (torch.arange(KNOTS) + 0.5) * 256 / KNOTS - 0.5  # gray levels


@dataclass(frozen=True)
class Estimate:
    """Statistics of a camera.

    Attributes:
        noise: Noise.
        kernel: Blur kernel for HR images, `(n, n)`; None without HR images.
        tone: Difference between the mean brightness of LR and HR images, `(3,)` RGB, gray levels; None without HR
            images.
        power: Average power spectra of LR images and of bicubically downsampled HR images, `(P, P)` each.
    """

    noise: Noise
    kernel: np.ndarray | None
    tone: Tensor | None
    power: list[Tensor]

    def numbers(self) -> dict[str, float]:
        """All numbers that have an interval, by name; see docs/camera.md."""
        numbers = _by_channel('noise', self.noise.variance.sqrt())
        numbers['noise_correlation_x'], numbers['noise_correlation_y'] = self.noise.neighbours
        if not self.noise.curve.isnan().all():
            numbers |= dict(zip(('noise_gaussian', 'noise_poisson'), poisson_gaussian(self.noise.curve), strict=True))
        if self.kernel is not None and self.tone is not None:
            numbers |= dict(zip(('blur_narrow', 'blur_wide'), spreads(self.kernel), strict=True))
            numbers |= _by_channel('tone', self.tone)
        return numbers


def _by_channel(name: str, values: Tensor) -> dict[str, float]:
    return {f'{name}_{channel}': value for channel, value in zip(CHANNELS, values.tolist(), strict=True)}


def poisson_gaussian(curve: Tensor) -> tuple[float, float]:
    """Fit `variance = constant + slope * brightness` to the mean of the channels, both at least 0.

    Args:
        curve: `(KNOTS, 3)`, `Noise.curve`, with a value at least.

    Returns:
        Constant in squared gray levels and slope in gray levels.
    """
    variance = curve.mean(1)
    measured = ~variance.isnan()
    target = variance[measured].double().numpy()
    design = np.stack([np.ones(len(target)), BIN_CENTRES[measured].double().numpy()], 1)
    # Relative errors count: the standard deviation of a measured variance is proportional to it
    constant, slope = nnls(design / target[:, None], np.ones(len(target)))[0]
    return float(constant), float(slope)


def spreads(kernel: np.ndarray) -> list[float]:
    """Standard deviations of a kernel along its narrowest and its widest axis, pixels.

    They are those of the squared kernel times the square root of 2, which is exact for Gaussians. Small errors far from
    the middle hardly change them.
    """
    return (2**0.5 * axis_spreads(np.square(kernel))).tolist()


class CameraEstimator:
    """Estimator for any selection of the images.

    Args:
        lr: Spectra of LR images.
        hr: Spectra of bicubically downsampled HR images, or None.
        scale: Downsampling factor.
    """

    def __init__(self, lr: PatchSpectra, hr: PatchSpectra | None, scale: int) -> None:
        self.scale = scale
        self.noise = NoiseEstimator(lr)
        folders = [spectra for spectra in (lr, hr) if spectra is not None]
        self.powers = [_mean_by_image(each, each.power.mean(1)) for each in folders]
        self.tones = [_mean_by_image(each, each.brightness) for each in folders]

    def estimate(self) -> Estimate:
        """Estimate from all images.

        Raises:
            InputError: If the LR or HR images have too little texture for a kernel.
        """
        weights = [torch.ones(len(power)) for power in self.powers]
        noise = self.noise(weights[0])
        if len(self.powers) > 1 and noise is not None:
            check_texture('LR', self.powers[0].mean(0), noise.spectrum(PATCH))
            check_texture('HR', self.powers[1].mean(0), torch.zeros(PATCH, PATCH))
        if (estimate := self._estimate(weights, noise)) is None:
            raise InputError(
                'LR images: got no patch that is neither black nor white, expected images of scenes. Add some'
            )
        return estimate

    def bootstrap(self, count: int) -> Iterator[Estimate]:
        """Estimates from images drawn with replacement; draws without texture or usable patches are left out."""
        generator = torch.Generator().manual_seed(0)
        for _ in range(count):
            weights = []
            for power in self.powers:
                drawn = torch.randint(len(power), (len(power),), generator=generator)
                weights.append(torch.bincount(drawn, minlength=len(power)).float())
            estimate = self._estimate(weights, self.noise(weights[0]))
            if estimate is not None:
                yield estimate

    def _estimate(self, weights: list[Tensor], noise: Noise | None) -> Estimate | None:
        """Estimate with weights of the images, `(images,)`, of each folder; None if it is impossible."""
        if noise is None:
            return None
        powers, tones = (
            [torch.tensordot(w, each, 1) / w.sum() for w, each in zip(weights, values, strict=True)]
            for values in (self.powers, self.tones)
        )
        if len(powers) == 1:
            return Estimate(noise, None, None, powers)
        kernel = lr_kernel(powers[0], noise.spectrum(PATCH), powers[1])
        if kernel is None:
            return None
        return Estimate(noise, hr_kernel(kernel, self.scale), tones[0] - tones[1], powers)


def _mean_by_image(spectra: PatchSpectra, values: Tensor) -> Tensor:
    """Mean over the patches of each image, `(images, ...)`."""
    total = torch.zeros(spectra.images, *values.shape[1:]).index_add_(0, spectra.image, values)
    return total / spectra.image.bincount().reshape(-1, *[1] * (values.ndim - 1))
