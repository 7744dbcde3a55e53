"""Crops of the results side by side, at the size of their pixels."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import cv2
import numpy as np

from study_cell import Cell
from usrdu_basicsr.utils.images import centre_crop, list_images, read_image, to_8bit, write_png

SIDE = 160  # of a crop, HR pixels
CAPTION = 20  # height, pixels


def write_crops(root: Path, cells: Iterable[Cell]) -> None:
    """Write `crops.png`: a row per camera, with HR, camera LR and the result of each method with the first seed."""
    finished = [cell for cell in cells if cell.seed == 0 and cell.result.exists()]
    methods = list(dict.fromkeys(cell.method for cell in finished))
    rows = [_captions(['HR', 'camera', *methods])]
    for camera in dict.fromkeys(cell.camera for cell in finished):
        of_method = {cell.method: cell for cell in finished if cell.camera == camera}
        validation = next(iter(of_method.values())).data / 'validation'
        path = list_images(validation / 'HR')[0]
        hr, lr = (to_8bit(read_image(folder / path.name)) for folder in (validation / 'HR', validation / 'camera'))
        images = [hr, cv2.resize(lr, hr.shape[1::-1], interpolation=cv2.INTER_NEAREST)]
        for method in methods:
            upscaled = of_method[method].upscaled / path.name if method in of_method else None
            images.append(np.full_like(hr, 255) if upscaled is None else to_8bit(read_image(upscaled)))
        rows.append(np.hstack([_square(image) for image in images]))
    write_png(root / 'crops.png', np.vstack(rows))


def _square(image: np.ndarray) -> np.ndarray:
    """Centre of an image on a white square."""
    crop = centre_crop(image, SIDE)
    square = np.full((SIDE, SIDE, 3), 255, np.uint8)
    square[: crop.shape[0], : crop.shape[1]] = crop
    return square


def _captions(names: Sequence[str]) -> np.ndarray:
    row = np.full((CAPTION, len(names) * SIDE, 3), 255, np.uint8)
    for index, name in enumerate(names):
        cv2.putText(row, name, (index * SIDE + 4, 14), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (0, 0, 0), 1, cv2.LINE_AA)
    return row
