"""Crops and augmentation of batches, compared with BasicSR's functions of one image."""

from itertools import product

import numpy as np
import pytest
import torch
from basicsr.data import transforms

from usrdu_basicsr.ops.patches import crop_and_augment, round_to_8bit
from usrdu_basicsr.utils.images import to_8bit


def test_crop_and_augment_equals_basicsr(monkeypatch: pytest.MonkeyPatch):
    cases = list(product((0, 1), repeat=3))
    images = torch.rand(len(cases), 3, 9, 11)
    crops = torch.tensor([(index % 4, index % 6, *case) for index, case in enumerate(cases)])
    results = crop_and_augment(images, crops, 5)
    for image, (top, left, *flips), result in zip(images, crops.tolist(), results, strict=True):
        draws = iter([0.0 if flip else 0.9 for flip in flips])
        monkeypatch.setattr(transforms.random, 'random', lambda draws=draws: next(draws))
        patch = image[:, top : top + 5, left : left + 5].permute(1, 2, 0).numpy().copy()
        np.testing.assert_array_equal(result.permute(1, 2, 0), transforms.augment(patch, True, True))


def test_round_to_8bit():
    image = torch.linspace(-0.1, 1.1, 997)
    np.testing.assert_array_equal((round_to_8bit(image) * 255).numpy(), to_8bit(image.numpy()))
