"""Fidelity of generated LR images in the validation of stage 1, and its warnings."""

import json
import logging
import math
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from basicsr.data import build_dataloader, build_dataset
from basicsr.models import build_model
from basicsr.utils import img2tensor
from skimage import data
from torch import Tensor

from tiny_runs import dsn_options, paired_options
from usrdu_basicsr.archs.dsn_arch import DSNOutput
from usrdu_basicsr.degradation.simulated_camera import SimulatedCamera, gaussian_kernel
from usrdu_basicsr.models import validation_fidelity
from usrdu_basicsr.models.validation_fidelity import compare_image, fidelity_metrics
from usrdu_basicsr.ops.resize import bicubic_downsample

NAMES = ('astronaut', 'chelsea', 'coffee', 'rocket')
SCALE = 2
NOISE = 8.0
KERNEL = gaussian_kernel(1.5, 1.5, 0, SCALE)


def scene(name: str) -> np.ndarray:
    return np.float32(np.asarray(getattr(data, name)())[:256, :256, ::-1]) / 255


def compared(mean_of: SimulatedCamera, noise: float, camera: SimulatedCamera, shift: float = 0) -> dict[str, float]:
    """Numbers for a stage 1 with the mean of a camera without noise plus `shift`, and this noise."""
    rng = np.random.default_rng(0)
    images = []
    for index, name in enumerate(NAMES):
        hr = scene(name)
        mean = img2tensor(mean_of.downsample(hr))[None] + torch.tensor([0, shift / 255, 0])[None, :, None, None]
        log_scale = torch.full_like(mean, math.log(max(noise, 1e-6) / 2**0.5))
        real = img2tensor(np.float32(camera(hr, rng)) / 255)[None]
        bicubic = bicubic_downsample(img2tensor(hr)[None], SCALE)
        images.append(compare_image(DSNOutput(mean, log_scale, None), None, bicubic, real, index))
    return fidelity_metrics(images)


@pytest.fixture
def warnings(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    monkeypatch.setattr(validation_fidelity, 'get_root_logger', lambda: logging.getLogger('validation'))
    return caplog


def test_matching_images(warnings):
    camera = SimulatedCamera(SCALE, KERNEL, NOISE)
    numbers = compared(camera, NOISE, camera)
    assert warnings.messages == []
    assert numbers['fidelity_real_noise'] == pytest.approx(NOISE, rel=0.05)
    assert numbers['fidelity_generated_noise'] == pytest.approx(NOISE, rel=0.05)
    assert numbers['fidelity_level_error'] < 0.05 and numbers['fidelity_score'] > 95
    assert numbers['fidelity_color_shift'] < 0.5 and numbers['fidelity_change'] > 1


BLUR = SimulatedCamera(SCALE, KERNEL)
NOISY = SimulatedCamera(SCALE, KERNEL, NOISE)
BICUBIC = SimulatedCamera(SCALE)


@pytest.mark.parametrize(
    ('mean', 'noise', 'camera', 'shift', 'warning'),
    [
        (BICUBIC, NOISE, NOISY, 0, 'Stage 1: Generated means are still bicubically downsampled HR images, unlike the'),
        (BLUR, 0, NOISY, 0, 'Stage 1: No noise is generated.'),
        (BLUR, NOISE, BLUR, 0, 'Stage 1: The camera has no visible noise; generated images have'),
        (BLUR, NOISE, NOISY, 6, 'Stage 1: Colours are shifted by up to'),
        (BLUR, NOISE, NOISY, -1000, 'Stage 1: Colours are shifted by up to'),
        (BLUR, NOISE, NOISY, math.nan, 'Stage 1: Generated images have non-finite values.'),
    ],
)
def test_each_failure_is_named(warnings, mean, noise, camera, shift, warning):
    numbers = compared(mean, noise, camera, shift)
    assert any(message.startswith(warning) for message in warnings.messages), warnings.messages
    assert (numbers == {}) == math.isnan(shift)


def test_black_images_are_named(warnings):
    black = SimulatedCamera(SCALE, np.zeros_like(KERNEL))
    assert compared(black, 0, NOISY) == {}
    assert warnings.messages == ['Stage 1: Generated images are black or white.']


def test_small_images_are_not_compared(warnings):
    def small(value: float) -> Tensor:
        return torch.full((1, 3, 20, 20), value)

    image = compare_image(DSNOutput(small(0.5), small(-5), None), None, small(0.5), small(0.4), 0)
    assert fidelity_metrics([image]) == fidelity_metrics([]) == {} and warnings.messages == []


def test_validation_writes_the_numbers(tmp_path: Path):
    camera, rng = SimulatedCamera(4, gaussian_kernel(3, 3, 0, 4), NOISE), np.random.default_rng(0)
    for name in NAMES:
        for folder, image in (('hr', 255 * scene(name)), ('real', camera(scene(name), rng))):
            (tmp_path / folder).mkdir(exist_ok=True)
            cv2.imwrite(str(tmp_path / folder / f'{name}.png'), image)
    pairs = paired_options(tmp_path)
    scalars = {}
    writer = type(
        'Writer', (), {'add_image': lambda *_, **__: None, 'add_scalar': lambda _, *a: scalars.update([a[:2]])}
    )
    model = build_model(dsn_options(tmp_path))
    model.validation(build_dataloader(build_dataset(pairs), pairs), 5, writer(), False)
    (record,) = map(json.loads, (tmp_path / 'log' / 'validation.jsonl').read_text().splitlines())
    assert record['metrics']['fidelity_real_noise'] == pytest.approx(NOISE, rel=0.1)
    assert scalars == {f'metrics/pairs/{name}': value for name, value in record['metrics'].items()}
    assert sorted(model.metric_results) == ['nll', 'psnr']
