"""What NumPy images may be, and how a network's results become such."""

from __future__ import annotations

import cv2
import numpy as np
import torch
from torch import Tensor

from usrdu_basicsr.utils.errors import InputError, one_line

LUMA = (0.299, 0.587, 0.114)  # of RGB (ITU-R BT.601), as OpenCV's and Pillow's
TOLERANCE = 1 / 255  # of floating-point images, which filters may bring a little beyond [0, 1]


def check_image(image: object) -> None:
    """Refuse what is no image.

    Raises:
        InputError: It is of another shape, type or range than those that `Upscaler.__call__` takes, or empty.
    """
    if not isinstance(image, np.ndarray):
        expected = "a NumPy array, BGR as OpenCV has it (of Pillow's RGB: numpy.asarray(image)[..., ::-1])"
        raise InputError(f'image: got {type(image).__name__}, expected {expected}')
    right_shape = image.ndim == 2 or (image.ndim == 3 and image.shape[2] in (1, 3, 4))
    if not right_shape or not image.size:
        raise InputError(f'image: got shape {image.shape}, expected (H, W), or (H, W, C) with 1, 3 or 4 channels')
    if image.dtype.name not in ('uint8', 'uint16') and image.dtype.kind != 'f':
        raise InputError(f'image: got {image.dtype}, expected uint8, uint16, or floating point in [0, 1]')
    if image.dtype.kind == 'f':
        low, high = image.min(), image.max()
        if not -TOLERANCE <= low <= high <= 1 + TOLERANCE:  # so that not a number is refused too
            raise InputError(
                f'image: got {image.dtype} from {low:g} to {high:g}, expected [0, 1]: divide 8 bits by 255'
            )


def as_pixels(rows: Tensor, like: np.ndarray) -> np.ndarray:
    """`(3, h, w)` RGB in [0, 1] to `(h, w, C)` with the channels (BGR) and the type of `like`.

    Raises:
        InputError: Values are infinite or not a number.
    """
    if not rows.isfinite().all():
        raise InputError("the network's result is not finite: its weights are not, or the precision is too low for it")
    rows = rows.clamp(0, 1)
    if like.shape[2] == 1:
        rows = (rows * rows.new_tensor(LUMA)[:, None, None]).sum(0, keepdim=True)
    if like.dtype.kind == 'u':
        rows = (rows * np.iinfo(like.dtype).max).round().to(torch.uint8 if like.dtype == np.uint8 else torch.int32)
    return rows.permute(1, 2, 0).cpu().numpy()[..., ::-1]


def scaled_size(size: tuple[int, int], scale: float) -> tuple[int, int]:
    """Height and width of an image that is enlarged, at least one pixel each."""
    height, width = (round(side * scale) or 1 for side in size)
    return height, width


def resized(pixels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """An image `(H, W, C)` of another size: bicubic if larger, averaged if smaller; floating point in [0, 1].

    Raises:
        InputError: Memory is too small for it.
    """
    if pixels.shape[:2] == size:
        return pixels
    how = cv2.INTER_AREA if size[0] < pixels.shape[0] else cv2.INTER_CUBIC
    try:
        result = cv2.resize(pixels, size[::-1], interpolation=how).reshape(*size, pixels.shape[2])
    except cv2.error as error:
        raise InputError(
            f'cannot resize the result to {size[1]}x{size[0]} ({one_line(error)}): choose another outscale'
        ) from error
    return result.clip(0, 1) if result.dtype.kind == 'f' else result
