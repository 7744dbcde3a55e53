"""Validation LR images of the measured camera, and a first picture of it."""

from pathlib import Path

import cv2
import numpy as np

from usrdu_basicsr.inference.lr_sampler import load_sampler
from usrdu_basicsr.utils.images import centre_crop, list_images, read_image, to_8bit, write_png

SIDE = 96  # of a crop, LR pixels
ZOOM = 3
ROWS = 3


def write_validation_lr(checkpoint: Path, validation: Path) -> None:
    """Write an LR image that a measured camera takes of each HR image, `validation/LR` of `validation/HR`."""
    sampler = load_sampler(checkpoint, 'cpu')
    for number, path in enumerate(list_images(validation / 'HR')):
        write_png(validation / 'LR' / path.name, sampler(read_image(path), seed=number)[0])


def write_preview(folder: Path) -> None:
    """Write `previews/camera.png`: generated LR images at the left, images of the camera at the right."""
    generated, real = (list_images(folder / part) for part in ('data/validation/LR', 'data/LR'))
    rows = [np.hstack([_crop(path) for path in pair]) for pair in zip(generated[:ROWS], real, strict=False)]
    image = cv2.resize(np.vstack(rows), None, fx=ZOOM, fy=ZOOM, interpolation=cv2.INTER_NEAREST)
    write_png(folder / 'previews' / 'camera.png', image)


def _crop(path: Path) -> np.ndarray:
    """Centre of an image, with black borders if it is smaller."""
    crop = centre_crop(to_8bit(read_image(path)), SIDE)
    return np.pad(crop, [(0, SIDE - crop.shape[0]), (0, SIDE - crop.shape[1]), (0, 0)])
