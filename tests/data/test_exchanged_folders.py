"""Warnings about exchanged folders of HR and camera images."""

import re
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from basicsr.utils import img2tensor

from sample_images import sample_image, write_sample_images
from usrdu_basicsr.data.exchanged_folders import FolderQuality, exchange_warning, sharpness, sharpness_warning
from usrdu_basicsr.storage.open_source import open_source
from usrdu_basicsr.storage.source import IMAGE
from usrdu_basicsr.utils.images import to_float


def test_exchanged_folders_are_noticed(tmp_path: Path):
    """HR images that are much noisier than camera images."""
    rng = np.random.default_rng(0)
    for folder, noise in (('clean', 0), ('noisy', 12)):
        for path in write_sample_images(tmp_path / folder, 3):
            image = cv2.imread(str(path))
            cv2.imwrite(str(path), (image + rng.normal(scale=noise, size=image.shape)).clip(0, 255))
    (tmp_path / 'noisy' / 'broken.png').write_bytes(b'')
    cv2.imwrite(str(tmp_path / 'noisy' / 'thin.png'), np.zeros((1, 32, 3), np.uint8))
    clean, noisy = (open_source(tmp_path / folder, IMAGE) for folder in ('clean', 'noisy'))
    assert exchange_warning(clean, noisy) == exchange_warning(clean, clean) == exchange_warning(noisy, noisy) == ''
    message = exchange_warning(noisy, clean)
    assert re.match(r'HR images have a noise level of 1\d\.\d gray levels, camera images of [0-3]\.\d', message)
    assert message.endswith(f"'{tmp_path}/noisy' and '{tmp_path}/clean' may be exchanged.")


def test_sharpness_does_not_depend_on_noise():
    sharp = img2tensor(to_float(sample_image(height=512, width=512)))[None]
    noisy = sharp + 0.03 * torch.randn(sharp.shape, generator=torch.Generator().manual_seed(0))
    assert sharpness(noisy, 0.03) == pytest.approx(sharpness(sharp, 0), rel=0.03)
    assert sharpness(noisy, 0) > 1.2 * sharpness(sharp, 0)


def test_sharpness_of_a_wave_has_a_closed_form():
    """Second differences of a wave have the amplitude 4 sin²(w / 2), differences of four pixels 2 sin(2 w)."""
    w = 2 * np.pi / 10
    wave = torch.sin(w * torch.arange(400.0)).expand(1, 1, 400, 400)
    wave = wave + wave.transpose(2, 3)
    assert sharpness(wave, 0) == pytest.approx((4 * np.sin(w / 2) ** 2 / (2 * np.sin(2 * w))) ** 2, rel=0.02)
    ramp = torch.arange(64.0).expand(1, 3, 64, 64)
    assert sharpness(ramp, 0) == sharpness(torch.ones(1, 3, 64, 64), 0) == 0


def test_camera_images_that_are_sharper_and_not_smaller_are_noticed():
    hr, lr = (FolderQuality(Path(name), 0, value, 100) for name, value in (('hr', 0.1), ('lr', 0.2)))
    assert sharpness_warning(hr, lr) == (
        "Camera images are sharper than HR images, and not smaller: 'hr' and 'lr' may be exchanged, or the HR images"
        ' are blurred.'
    )
    assert sharpness_warning(lr, hr) == sharpness_warning(hr, replace(lr, pixels=99)) == ''
