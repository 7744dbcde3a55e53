"""Checks and conversions of NumPy images."""

import cv2
import numpy as np
import torch
from torch import Tensor

from usrdu_basicsr.utils.errors import InputError, one_line
from usrdu_basicsr.utils.images import check_range

LUMA = (0.299, 0.587, 0.114)  # weights of R, G, B (ITU-R BT.601), as in OpenCV and Pillow


def check_image(image: object) -> None:
    """Raise an InputError unless an image has a type, shape and range that `Upscaler.__call__` accepts."""
    if not isinstance(image, np.ndarray):
        expected = 'a NumPy array in BGR order as in OpenCV. Convert a Pillow image: numpy.asarray(image)[..., ::-1]'
        raise InputError(f'image: got {type(image).__name__}, expected {expected}')
    valid_shape = image.ndim == 2 or (image.ndim == 3 and image.shape[2] in (1, 3, 4))
    if not valid_shape or not image.size:
        raise InputError(f'image: got shape {image.shape}, expected (H, W), or (H, W, C) with 1, 3 or 4 channels')
    check_range(image, 'image')


def to_image_array(output: Tensor, like: np.ndarray) -> np.ndarray:
    """Convert `(3, h, w)` RGB in [0, 1] to `(h, w, C)` with the channels (gray or BGR) and the data type of `like`.

    Raises:
        InputError: If values are non-finite.
    """
    if not output.isfinite().all():
        raise InputError('the output of the network is non-finite. Check its weights, or use a higher precision')
    output = output.clamp(0, 1)
    if like.shape[2] == 1:
        output = (output * output.new_tensor(LUMA)[:, None, None]).sum(0, keepdim=True)
    if like.dtype.kind == 'u':
        output = (output * np.iinfo(like.dtype).max).round().to(torch.uint8 if like.dtype == np.uint8 else torch.int32)
    return output.permute(1, 2, 0).cpu().numpy()[..., ::-1]


def tensor_to_image(x: Tensor) -> np.ndarray:
    """Convert `(1, 3, H, W)` RGB to `(H, W, 3)` BGR, unchanged in range and data type."""
    return x[0].permute(1, 2, 0).flip(2).numpy()


def scaled_size(size: tuple[int, ...], scale: float) -> tuple[int, int]:
    """Height and width of an upscaled image, at least one pixel each."""
    height, width = (round(side * scale) or 1 for side in size)
    return height, width


def resize(pixels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resize an image `(H, W, C)`: bicubic if it grows, area average if it shrinks. Floats are clipped to [0, 1].

    Raises:
        InputError: If OpenCV cannot resize it, for example for lack of memory.
    """
    if pixels.shape[:2] == size:
        return pixels
    interpolation = cv2.INTER_AREA if size[0] < pixels.shape[0] else cv2.INTER_CUBIC
    try:
        result = cv2.resize(pixels, size[::-1], interpolation=interpolation).reshape(*size, pixels.shape[2])
    except cv2.error as error:
        message = f'cannot resize the result to {size[1]}x{size[0]} ({one_line(error)}). Choose a smaller outscale'
        raise InputError(message) from error
    return result.clip(0, 1) if result.dtype.kind == 'f' else result
