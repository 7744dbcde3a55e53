"""DSN of a measured camera, which takes the place of stage 1."""

from pathlib import Path

import torch

from usrdu_basicsr.archs.camera_noise import CONTRAST_TAPS
from usrdu_basicsr.archs.kernel_dsn_arch import KernelDSN
from usrdu_basicsr.degradation.camera import Camera
from usrdu_basicsr.degradation.texture_noise import unexplained_power
from usrdu_basicsr.inference.calibrate import MAX_TEXTURE, Calibration, check_texture_noise, fit_noise, with_noise
from usrdu_basicsr.inference.load_network import DSN
from usrdu_basicsr.inference.samples import Samples
from usrdu_basicsr.ops.filters import local_contrast
from usrdu_basicsr.utils.errors import InputError

MIN_CONTRAST = 1e-6  # mean of squared gray levels
FIRST_ROUNDS = 5  # of the calibration that the noise in texture is measured with


def measured_dsn(
    camera: Camera, hr: str | Path, texture: float | None = None, images: int = 100
) -> tuple[DSN, Calibration]:
    """DSN of a measured camera, calibrated to its noise.

    Args:
        camera: Measurement with HR images.
        hr: HR images, a folder or an LMDB.
        texture: Noise of textured areas relative to their local contrast, see `CameraNoise`; None to measure it.
        images: Number of HR images that are used, see `measured_indices`.

    Returns:
        Network, and its noises.

    Raises:
        InputError: If the camera has no kernel, or as of `calibrate`.
    """
    if texture is not None:
        check_texture_noise(texture)
    if camera.kernel is None:
        raise InputError('camera: got no kernel, expected one. Measure the camera with HR images')
    dsn = KernelDSN(len(camera.kernel), camera.scale).eval()
    dsn.kernel.copy_(torch.from_numpy(camera.kernel))
    if texture is None:
        texture = _texture(camera, Samples(dsn, hr, -(-images // 2)))  # half of them are enough for one number
    noise, calibration = fit_noise(Samples(dsn, hr, images), camera.noise, camera.files, texture)
    return with_noise(dsn, noise), calibration


def _texture(camera: Camera, samples: Samples) -> float:
    """Measure the noise in texture that samples with calibrated noise lack."""
    noise, _ = fit_noise(samples, camera.noise, camera.files, 0, FIRST_ROUNDS)
    power = unexplained_power(camera.power[0], samples.added_power(noise).clamp(min=0), camera.power[1])
    contrasts = [255 * local_contrast(mean, CONTRAST_TAPS) for mean, _ in samples.predictions]
    contrast = sum(float(each.square().mean()) for each in contrasts) / len(contrasts)
    return min((power / max(contrast, MIN_CONTRAST)) ** 0.5, MAX_TEXTURE)
