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


def write_preview(folder: Path, dsn: Path) -> None:
    """Write `previews/camera.png`: samples of a DSN at the left, images of the camera at the right."""
    sampler = load_sampler(dsn, 'cpu')
    rows = []
    hr_images, real_images = (list_images(folder / part)[:ROWS] for part in (names.VALIDATION_HR, names.LR))
    for number, paths in enumerate(zip(hr_images, real_images, strict=False)):
        hr, real = map(read_image, paths)
        rows.append(np.hstack([_crop(sampler(hr, seed=number)[0]), _crop(to_8bit(real))]))
    image = cv2.resize(np.vstack(rows), None, fx=ZOOM, fy=ZOOM, interpolation=cv2.INTER_NEAREST)
    write_png(folder / names.PREVIEW, image)


def _crop(image: np.ndarray) -> np.ndarray:
    """Centre of an image, with black borders if it is smaller."""
    crop = centre_crop(image, SIDE)
    return np.pad(crop, [(0, SIDE - crop.shape[0]), (0, SIDE - crop.shape[1]), (0, 0)])
