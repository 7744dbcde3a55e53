"""Validation LR images of the measured camera, and a first picture of it."""

from pathlib import Path

import cv2
import numpy as np

from usrdu_basicsr.inference.lr_sampler import load_sampler
from usrdu_basicsr.report import run_folder as names
from usrdu_basicsr.utils.images import centre_crop, list_images, read_image, to_8bit, write_png

SIDE = 96  # of a crop, LR pixels
ZOOM = 3
ROWS = 3


def write_validation_lr(folder: Path) -> None:
    """Write the LR images that the measured camera of a run takes of its validation images."""
    sampler = load_sampler(folder / names.CAMERA_DSN, 'cpu')
    for number, path in enumerate(list_images(folder / names.VALIDATION_HR)):
        write_png(folder / names.VALIDATION_LR / path.name, sampler(read_image(path), seed=number)[0])


def write_preview(folder: Path) -> None:
    """Write `previews/camera.png`: generated LR images at the left, images of the camera at the right."""
    generated, real = (list_images(folder / part) for part in (names.VALIDATION_LR, names.LR))
    rows = [np.hstack([_crop(path) for path in pair]) for pair in zip(generated[:ROWS], real, strict=False)]
    image = cv2.resize(np.vstack(rows), None, fx=ZOOM, fy=ZOOM, interpolation=cv2.INTER_NEAREST)
    write_png(folder / names.PREVIEW, image)


def _crop(path: Path) -> np.ndarray:
    """Centre of an image, with black borders if it is smaller."""
    crop = centre_crop(to_8bit(read_image(path)), SIDE)
    return np.pad(crop, [(0, SIDE - crop.shape[0]), (0, SIDE - crop.shape[1]), (0, 0)])
