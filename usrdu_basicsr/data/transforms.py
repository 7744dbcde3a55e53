"""Random patches of images."""

from __future__ import annotations

import random

import numpy as np

from usrdu_basicsr.utils.errors import InputError


def random_crop(image: np.ndarray, size: int) -> np.ndarray:
    """Crop a random patch `(size, size, C)` of an image `(H, W, C)`."""
    top = random.randint(0, image.shape[0] - size)
    left = random.randint(0, image.shape[1] - size)
    return image[top : top + size, left : left + size]


def check_patch_fits(image_size: tuple[int, int], size: int, option: str, name: str) -> None:
    """Check that an image is not smaller than a patch.

    Args:
        image_size: `(height, width)` of the image in pixels.
        size: Side of the patch in pixels.
        option: Option that sets it, for the message.
        name: Name of the image, for the message.

    Raises:
        InputError: If the image is smaller.
    """
    height, width = image_size
    if min(height, width) < size:
        raise InputError(
            f"image '{name}': got {height}x{width} pixels, expected at least {size}x{size} ({option}). Remove it or"
            ' lower gt_size'
        )
