"""DSN of a measured camera, which takes the place of stage 1."""

from pathlib import Path

import torch

from usrdu_basicsr.archs.kernel_dsn_arch import KernelDSN
from usrdu_basicsr.degradation.camera import Camera
from usrdu_basicsr.inference.calibrate import Calibration, fit_noise, with_noise
from usrdu_basicsr.inference.load_network import DSN
from usrdu_basicsr.inference.samples import Samples
from usrdu_basicsr.utils.errors import InputError


def measured_dsn(camera: Camera, hr: str | Path, images: int = 100) -> tuple[DSN, Calibration]:
    """DSN of a measured camera, calibrated to its noise.

    Args:
        camera: Measurement with HR images.
        hr: HR images, a folder or an LMDB.
        images: Number of HR images that are used, see `measured_indices`.

    Returns:
        Network, and its noises.

    Raises:
        InputError: If the camera has no kernel, or as of `calibrate`.
    """
    if camera.kernel is None:
        raise InputError('camera: got no kernel, expected one. Measure the camera with HR images')
    dsn = KernelDSN(len(camera.kernel), camera.scale).eval()
    dsn.kernel.copy_(torch.from_numpy(camera.kernel))
    noise, calibration = fit_noise(Samples(dsn, hr, images), camera.noise, camera.files)
    return with_noise(dsn, noise), calibration
