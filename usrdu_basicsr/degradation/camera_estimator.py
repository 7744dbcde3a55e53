"""Estimate the noise and the blur kernel of a camera, and their uncertainty."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from usrdu_basicsr.degradation.blur_kernel import hr_kernel, lr_kernel
from usrdu_basicsr.degradation.noise import Noise, NoiseEstimator
from usrdu_basicsr.degradation.patch_spectra import PatchSpectra


@dataclass(frozen=True)
class Estimate:
    """Noise and blur kernel of a camera; the kernel, `(n, n)`, is None without HR images."""

    noise: Noise
    kernel: np.ndarray | None

    def numbers(self) -> dict[str, float]:
        """Noise levels of the channels in gray levels, and the spreads of the kernel in HR pixels, by name."""
        levels = zip(('red', 'green', 'blue'), self.noise.variance.sqrt().tolist(), strict=True)
        numbers = {f'noise_{name}': level for name, level in levels}
        if self.kernel is not None:
            numbers |= dict(zip(('blur_narrow', 'blur_wide'), spreads(self.kernel), strict=True))
        return numbers


def spreads(kernel: np.ndarray) -> list[float]:
    """Standard deviations of a kernel along its narrowest and its widest axis, pixels.

    They are those of the squared kernel times the square root of 2, which is exact for Gaussians. Small errors far from
    the middle hardly change them.
    """
    positions = np.indices(kernel.shape).reshape(2, -1)
    covariance = np.cov(positions, aweights=np.square(kernel).ravel(), ddof=0)
    return np.sqrt(2 * np.linalg.eigvalsh(covariance).clip(0)).tolist()


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
        self.powers = [_power_by_image(spectra) for spectra in (lr, hr) if spectra is not None]

    def estimate(self) -> Estimate:
        """Estimate from all images."""
        return self._estimate([torch.ones(len(power)) for power in self.powers])

    def bootstrap(self, count: int) -> Iterator[Estimate]:
        """Estimates from images drawn with replacement."""
        generator = torch.Generator().manual_seed(0)
        for _ in range(count):
            drawn = [torch.randint(len(power), (len(power),), generator=generator) for power in self.powers]
            yield self._estimate(
                [
                    torch.bincount(each, minlength=len(power)).float()
                    for each, power in zip(drawn, self.powers, strict=True)
                ]
            )

    def _estimate(self, weights: list[Tensor]) -> Estimate:
        """Estimate with weights of the images, `(images,)`, of each folder."""
        noise = self.noise(weights[0])
        if len(self.powers) == 1:
            return Estimate(noise, None)
        lr, hr = (torch.tensordot(w, power, 1) / w.sum() for w, power in zip(weights, self.powers, strict=True))
        return Estimate(noise, hr_kernel(lr_kernel(lr, noise.variance.mean(), hr), self.scale))


def _power_by_image(spectra: PatchSpectra) -> Tensor:
    """Average spectrum of the patches and channels of each image, `(images, P, P)`."""
    total = torch.zeros(spectra.images, *spectra.power.shape[2:])
    total.index_add_(0, spectra.image, spectra.power.mean(1))
    return total / spectra.image.bincount()[:, None, None]
