"""Random crops."""

from __future__ import annotations

import random

import numpy as np

from usrdu_basicsr.utils.errors import InputError


def random_crop(image: np.ndarray, size: int) -> np.ndarray:
    """A `size` x `size` window of `(H, W, C)`, anywhere."""
    top = random.randint(0, image.shape[0] - size)
    left = random.randint(0, image.shape[1] - size)
    return image[top : top + size, left : left + size]


def check_crop_fits(height_width: tuple[int, int], size: int, option: str, name: str) -> None:
    """Refuse an image that is smaller than the crop.

    Args:
        height_width: Of the image, pixels.
        size: Side of the crop, pixels.
        option: What sets it, for the message.
        name: Of the image, for the message.

    Raises:
        InputError: It is smaller.
    """
    height, width = height_width
    if min(height, width) < size:
        raise InputError(
            f"image '{name}': {height}x{width} pixels are too few for crops of {size}x{size} ({option}): remove it or"
            ' lower gt_size'
        )
