"""DSN of a measured camera: noise in texture."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from basicsr.utils import img2tensor
from skimage import data

from usrdu_basicsr.degradation.camera import measure_camera
from usrdu_basicsr.degradation.simulated_camera import SimulatedCamera, gaussian_kernel
from usrdu_basicsr.inference.measured_dsn import measured_dsn
from usrdu_basicsr.inference.pixels import tensor_to_image
from usrdu_basicsr.ops.filters import local_contrast
from usrdu_basicsr.utils.errors import InputError
from usrdu_basicsr.utils.images import to_8bit

NAMES = ('astronaut', 'chelsea', 'coffee', 'rocket', 'retina', 'immunohistochemistry')
NOISE = 2.0
TAKE = SimulatedCamera(2, gaussian_kernel(2, 2, 0, 2))


def write_images(folder: Path, texture: float) -> None:
    """HR images, and LR images of a camera with white noise and noise in texture."""
    rng = np.random.default_rng(0)
    for name in ('hr', 'lr'):
        (folder / name).mkdir()
    for name in NAMES:
        hr = np.ascontiguousarray(np.asarray(getattr(data, name)())[:400, :400, ::-1])
        mean = TAKE.downsample(np.float32(hr) / 255)
        contrast = local_contrast(img2tensor(mean)[None])
        deviation = np.hypot(NOISE / 255, texture * tensor_to_image(contrast.expand(-1, 3, -1, -1)))
        cv2.imwrite(str(folder / 'hr' / f'{name}.png'), hr)
        cv2.imwrite(str(folder / 'lr' / f'{name}.png'), to_8bit(mean + deviation * rng.normal(size=mean.shape)))


@pytest.mark.parametrize('texture', [0.0, 0.5])
def test_noise_in_texture_is_measured(tmp_path: Path, texture: float):
    write_images(tmp_path, texture)
    camera = measure_camera(tmp_path / 'lr', tmp_path / 'hr', 2)
    dsn, calibration = measured_dsn(camera, tmp_path / 'hr')
    assert calibration.texture == pytest.approx(texture, rel=0.3)
    assert float(dsn.camera_noise.texture) == pytest.approx(calibration.texture)
    assert camera.noise.level_error(calibration.after) < 0.05
    assert measured_dsn(camera, tmp_path / 'hr', 0.25)[1].texture == 0.25
    assert torch.equal(dsn.kernel, torch.from_numpy(camera.kernel).float())


def test_a_camera_without_a_kernel_is_refused(tmp_path: Path):
    write_images(tmp_path, 0)
    camera = measure_camera(tmp_path / 'lr', None, 2)
    with pytest.raises(InputError, match=r'camera: got no kernel, expected one\. Measure the camera with HR images'):
        measured_dsn(camera, tmp_path / 'hr')
