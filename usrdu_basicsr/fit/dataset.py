"""Write the images of a run: sub-images to train on, camera images, validation and held-back crops."""

import json
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import product
from pathlib import Path

import cv2
import numpy as np

from usrdu_basicsr.fit.selection import THREADS, Selection
from usrdu_basicsr.storage.source import spread
from usrdu_basicsr.utils.errors import InputError
from usrdu_basicsr.utils.files import atomic_dir, read_bytes
from usrdu_basicsr.utils.images import centre_crop, encode_png, read_image, to_8bit

Task = Callable[[], None]
MARK = 'dataset.json'
SUB_IMAGE = 256  # side, HR pixels
SUB_IMAGES = 1000, 5000  # at most, of short and of long runs
CAMERA_IMAGES = 200  # at most, as many as `usrdu camera` measures
VALIDATION_SIDE = 384  # HR pixels
MULTIPLE = 8  # of the sides of validation LR images, which networks get without padding
HELD_BACK_SIDE = 192  # LR pixels
LONGEST_STEM = 100  # bytes


def sub_image_count(seconds: float) -> int:
    """Largest number of sub-images of a run of so many seconds, one for each second of long runs."""
    least, most = SUB_IMAGES
    return max(least, min(int(seconds), most))


def megabytes(selection: Selection, count: int) -> float:
    """Size of the files that `write_dataset` reads."""
    used = (*_used(selection, count), selection.held_back, selection.val_hr, selection.val_lr)
    return sum(path.stat().st_size for paths in used for path in paths) / 2**20


def _used(selection: Selection, count: int) -> tuple[list[Path], list[Path]]:
    """HR images for so many sub-images, and camera images."""
    return spread(selection.hr, count), spread(selection.lr, CAMERA_IMAGES)


def write_dataset(selection: Selection, folder: Path, scale: int, count: int) -> list[str]:
    """Write `HR`, `LR`, `validation/HR`, `validation/LR` (of given pairs) and `held_back` atomically.

    Args:
        selection: Images.
        folder: Output folder.
        scale: Upscaling factor; sides of HR images are multiples of it.
        count: Number of sub-images, at most.

    Returns:
        Sentences on images that could not be read.

    Raises:
        InputError: If the images of a kind cannot be read.
    """
    hr, lr = _used(selection, count)
    per_image = max(1, count // len(hr))
    notes: list[str] = []
    with atomic_dir(folder, MARK, overwrite=True) as output:
        centre = partial(_write_centre, side=VALIDATION_SIDE, multiple=MULTIPLE * scale)
        outputs = [output / 'validation' / 'HR' / f'{stem}.png' for stem in unique_stems(selection.val_hr)]
        validation: list[Task] = [partial(centre, *paths) for paths in zip(outputs, selection.val_hr, strict=True)]
        if selection.val_lr:
            pairs = zip(outputs, selection.val_hr, selection.val_lr, strict=True)
            validation = [partial(_write_pair, *paths, scale) for paths in pairs]
        held_back = partial(_write_centre, side=HELD_BACK_SIDE)
        tasks: dict[str, list[Task]] = {
            'HR': [
                partial(_write_sub_images, output / 'HR', stem, path, per_image, scale)
                for stem, path in zip(unique_stems(hr), hr, strict=True)
            ],
            'LR': [partial(_copy, output / 'LR', path) for path in lr],
            'held-back LR': [
                partial(held_back, output / 'held_back' / f'{stem}.png', path)
                for stem, path in zip(unique_stems(selection.held_back), selection.held_back, strict=True)
            ],
            'validation': validation,
        }
        written = {}
        with ThreadPoolExecutor(THREADS) as threads:
            for kind, kind_tasks in tasks.items():
                errors = list(filter(None, threads.map(_error_of, kind_tasks)))
                notes += [f'Skipped a {kind} image: {error}' for error in errors]
                written[kind] = len(kind_tasks) - len(errors)
                if not written[kind]:
                    raise InputError(f'no {kind} image can be decoded: {errors[0]}')
        (output / MARK).write_text(json.dumps({'images': written, 'scale': scale}))
    return notes


def _error_of(task: Task) -> InputError | None:
    try:
        task()
    except InputError as error:
        return error
    return None


def _write_sub_images(folder: Path, stem: str, path: Path, count: int, scale: int) -> None:
    for number, crop in enumerate(sub_images(to_8bit(read_image(path)), count, scale)):
        # Training decodes a BMP file sixteen times as fast as a PNG file
        _write(folder / f'{stem}_{number:03d}.bmp', cv2.imencode('.bmp', crop)[1].tobytes())


def _copy(folder: Path, path: Path) -> None:
    """Copy a file, because its JPEG settings are measured."""
    read_image(path)
    _write(folder / path.name, read_bytes(path))


def _write_centre(output: Path, path: Path, side: int, multiple: int = 1) -> None:
    image = to_8bit(read_image(path))
    height, width = (length // multiple * multiple for length in image.shape[:2])
    _write(output, encode_png(centre_crop(image[:height, :width], side), path.name))


def _write_pair(hr_output: Path, hr_path: Path, lr_path: Path, scale: int) -> None:
    hr, lr = to_8bit(read_image(hr_path)), to_8bit(read_image(lr_path))
    sides = [min(VALIDATION_SIDE // scale, length // MULTIPLE * MULTIPLE) for length in lr.shape[:2]]
    starts = [(length - side) // 2 for length, side in zip(lr.shape[:2], sides, strict=True)]
    lr_output = hr_output.parents[1] / 'LR' / hr_output.name
    for output, image, factor in ((lr_output, lr, 1), (hr_output, hr, scale)):
        rows, columns = (
            slice(factor * start, factor * (start + side)) for start, side in zip(starts, sides, strict=True)
        )
        _write(output, encode_png(image[rows, columns], hr_path.name))


def _write(path: Path, content: bytes) -> None:
    """Write a file of the folder that is renamed once it is complete."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def sub_images(image: np.ndarray, count: int, scale: int) -> list[np.ndarray]:
    """Up to `count` evenly spaced sub-images of a grid, with sides that are multiples of the scale.

    Args:
        image: `(H, W, 3)`.
        count: Number of sub-images, at most.
        scale: Divisor of their sides.
    """
    sides = [min(SUB_IMAGE, length // scale * scale) for length in image.shape[:2]]
    starts = (range(0, length - side + 1, side) for length, side in zip(image.shape[:2], sides, strict=True))
    corners = list(product(*starts))
    return [image[top : top + sides[0], left : left + sides[1]] for top, left in spread(corners, count)]


def unique_stems(paths: Sequence[Path]) -> list[str]:
    """Stems in UTF-8, not too long for a file system, that differ also for `a.png`, `a.jpg` and `a_png.jpg`."""
    stems: dict[str, None] = {}
    for path in paths:
        name = path.name.replace('.', '_').encode('utf-8', 'backslashreplace')
        stem = name[:LONGEST_STEM].decode(errors='ignore')
        while stem in stems:
            stem += '_'
        stems[stem] = None
    return list(stems)
