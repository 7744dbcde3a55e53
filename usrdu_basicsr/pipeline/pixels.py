"""What NumPy images may be, and how a network's results become such."""

from __future__ import annotations

import cv2
import numpy as np
import torch
from torch import Tensor

from usrdu_basicsr.errors import InputError

LUMA = (0.299, 0.587, 0.114)  # of RGB (ITU-R BT.601), as OpenCV's and Pillow's
TOLERANCE = 1 / 255  # of floating-point images, which filters may bring a little beyond [0, 1]


def check_image(image: np.ndarray) -> None:
    """Refuse what is no image.

    Raises:
        InputError: It is of another shape, type or range than those that `Upscaler.__call__` takes, or empty.
    """
    right_shape = image.ndim == 2 or (image.ndim == 3 and image.shape[2] in (1, 3, 4))
    if not right_shape or not image.size:
        raise InputError(f'image: got shape {image.shape}, expected (H, W), or (H, W, C) with 1, 3 or 4 channels')
    if image.dtype not in (np.uint8, np.uint16) and image.dtype.kind != 'f':
        raise InputError(f'image: got {image.dtype}, expected uint8, uint16, or floating point in [0, 1]')
    if image.dtype.kind == 'f':
        low, high = image.min(), image.max()
        if not -TOLERANCE <= low <= high <= 1 + TOLERANCE:  # so that not a number is refused too
            raise InputError(
                f'image: got {image.dtype} from {low:g} to {high:g}, expected [0, 1]: divide 8 bits by 255'
            )


def as_pixels(rows: Tensor, like: np.ndarray) -> np.ndarray:
    """`(3, h, w)` RGB in [0, 1] to `(h, w, C)` with the channels (BGR) and the type of `like`."""
    rows = rows.clamp(0, 1)
    if like.shape[2] == 1:
        rows = (rows * rows.new_tensor(LUMA)[:, None, None]).sum(0, keepdim=True)
    if like.dtype.kind == 'u':
        rows = (rows * np.iinfo(like.dtype).max).round().to(torch.uint8 if like.dtype == np.uint8 else torch.int32)
    return rows.permute(1, 2, 0).cpu().numpy()[..., ::-1]


def resized(pixels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """An image `(H, W, C)` of another size: bicubic if larger, averaged if smaller; floating point in [0, 1]."""
    if pixels.shape[:2] == size:
        return pixels
    how = cv2.INTER_AREA if size[0] < pixels.shape[0] else cv2.INTER_CUBIC
    result = cv2.resize(pixels, size[::-1], interpolation=how).reshape(*size, pixels.shape[2])
    return result.clip(0, 1) if result.dtype.kind == 'f' else result
