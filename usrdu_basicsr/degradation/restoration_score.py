"""Score of generated LR images: how well does what they teach restore the images of the camera?

A linear restoration of LR images with known spectra has a closed form, the Wiener filter, and so has its error on
images with other spectra. SR networks learn more than that, but the score ranks generated sets as their PSNR does
(docs/results.md).
"""

from torch import Tensor

from usrdu_basicsr.degradation.blur_kernel import equal_band
from usrdu_basicsr.ops.spectrum import frequency_radius

LOWEST = 0.05  # cycles per pixel; below, spectra depend on the scenes
# Squared gray levels. A network does not undo a blur as far as images without noise would allow.
REGULARIZATION = 8.0
LEAST = 1e-6  # squared gray levels


def restoration_score(power: Tensor, noise: Tensor, generated_power: Tensor, generated_noise: Tensor) -> float:
    """Error of the linear restoration of real LR images, relative to that of one for the generated ones.

    Scenes are taken to have the power spectrum of natural images, the inverse square of the frequency (Field,
    "Relations between the statistics of natural images and the response properties of cortical cells", 1987).

    Args:
        power: Average power spectrum of the real LR images, `(P, P)`, squared gray levels.
        noise: That of their noise.
        generated_power: That of the generated LR images.
        generated_noise: That of their noise.

    Returns:
        100 for the same blur, and the same noise relative to the contrast of the scenes; towards 0 for others.
    """
    size = len(power)
    scene = frequency_radius(size).clamp(min=1 / size) ** -2
    scene = scene * (power - noise).clamp(min=LEAST)[equal_band(size)].mean() / scene[equal_band(size)].mean()
    transfer, noise = _camera(power, noise, scene)
    best = _wiener(transfer, noise, scene)
    learned = _wiener(*_camera(generated_power, generated_noise, scene), scene)
    used = frequency_radius(size) > LOWEST
    least, error = (((1 - each * transfer) ** 2 * scene + each**2 * noise)[used].sum() for each in (best, learned))
    return 100 * float(least / error)


def _camera(power: Tensor, noise: Tensor, scene: Tensor) -> tuple[Tensor, Tensor]:
    """Transfer function and power spectrum of the regularized noise of LR images with the contrast of the scene."""
    signal = (power - noise).clamp(min=0)
    equal = equal_band(len(power))
    contrast = signal[equal].mean().clamp(min=LEAST) / scene[equal].mean()
    return (signal / contrast / scene).sqrt(), noise / contrast + REGULARIZATION


def _wiener(transfer: Tensor, noise: Tensor, scene: Tensor) -> Tensor:
    return transfer * scene / (transfer**2 * scene + noise)
