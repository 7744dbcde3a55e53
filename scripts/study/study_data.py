"""Images of the study: HR images, camera images of other scenes, and paired validation sets."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from basicsr.utils import img2tensor

from usrdu_basicsr.degradation.simulated_camera import SimulatedCamera, gaussian_kernel, made_camera
from usrdu_basicsr.inference.pixels import tensor_to_image
from usrdu_basicsr.ops.resize import bicubic_downsample
from usrdu_basicsr.storage.source import evenly_spaced
from usrdu_basicsr.utils.errors import InputError
from usrdu_basicsr.utils.files import write_text
from usrdu_basicsr.utils.images import image_size, list_images, read_image, to_8bit, to_float, write_png

Pairs = Iterable[tuple[Path, np.ndarray]]  # HR image and uint8 LR image
PHONE = 'phone'
PHONE_SCENES = {'hr': slice(0, 36), 'camera': slice(36, 70), 'validation': slice(70, 80)}


def prepare(folder: Path, name: str, grid: dict[str, Any], bsds: Path, phone: Path) -> None:
    """Write the images of a camera, unless they exist.

    The folder gets `hr` (whole images), `HR` (sub-images), `LR/bicubic` and `LR/camera_pairs` (LR images of the
    sub-images), `camera`, and `validation/HR` and `validation/camera`.
    """
    if (folder / 'complete').exists():
        return
    scale = grid['cameras'][name]['scale']
    pairs = phone_pairs(phone, scale) if name == PHONE else made_pairs(name, scale, grid, bsds)
    for path, lr in pairs['hr']:
        image = cropped(read_image(path), scale)
        write_png(folder / 'hr' / f'{path.stem}.png', to_8bit(image))
        for number, (top, left) in enumerate(corners(image.shape, side := grid['side'])):
            sub = image[top : top + side, left : left + side]
            low = tuple(slice(start // scale, (start + side) // scale) for start in (top, left))
            bicubic = tensor_to_image(bicubic_downsample(img2tensor(to_float(sub))[None], scale))
            for part, pixels in (('HR', sub), ('LR/bicubic', bicubic), ('LR/camera_pairs', lr[low])):
                write_png(folder / part / f'{path.stem}_{number:02d}.png', to_8bit(to_float(pixels)))
    for path, lr in pairs['camera']:
        write_png(folder / 'camera' / f'{path.stem}.png', lr)
    for path, lr in pairs['validation']:
        write_png(folder / 'validation' / 'HR' / f'{path.stem}.png', to_8bit(cropped(read_image(path), scale)))
        write_png(folder / 'validation' / 'camera' / f'{path.stem}.png', lr)
    write_text(folder / 'complete', '')


def phone_pairs(folder: Path, scale: int) -> dict[str, Pairs]:
    """Scenes of City100 by use; an InputError if a LR image does not have the size of its HR image over the scale."""
    hr, lr = (list_images(folder / kind) for kind in ('HR', 'LR'))
    for hr_path, lr_path in zip(hr, lr, strict=True):
        size, expected = image_size(lr_path), tuple(side // scale for side in image_size(hr_path))
        if size != expected:
            sizes = ' pixels, expected '.join(f'{height}x{width}' for height, width in (size, expected))
            raise InputError(f"'{lr_path}' has {sizes}, those of HR over {scale}. Downsample the LR images")
    read = (to_8bit(read_image(path)) for path in lr)
    pairs = list(zip(hr, read, strict=True))
    return {use: pairs[scenes] for use, scenes in PHONE_SCENES.items()}


def made_pairs(name: str, scale: int, grid: dict[str, Any], bsds: Path) -> dict[str, Pairs]:
    """Scenes of a simulated camera by use: HR images of BSDS500/train, the others of BSDS500/test."""
    hr, scenes = list_images(bsds / 'train')[: grid['images']], list_images(bsds / 'test')
    uses = {'hr': hr, 'camera': scenes[: -grid['validation']], 'validation': scenes[-grid['validation'] :]}
    camera, rng = made_camera(name, scale), np.random.default_rng(0)
    return {
        use: [(path, camera(cropped(read_image(path), scale), rng)) for path in paths] for use, paths in uses.items()
    }


def write_simulated(hr: Path, output: Path, scale: int, settings: dict[str, Any]) -> None:
    """Write LR images of HR sub-images by a simulated camera, unless they exist.

    Args:
        hr: HR images.
        output: Folder of the LR images.
        scale: Downsampling factor.
        settings: `blur`, standard deviations of the blur along both axes in HR pixels; `noise`, gray levels; `jpeg`,
            a list of qualities.
    """
    images = list_images(hr)
    if output.is_dir() and len(list_images(output)) == len(images):
        return
    blur = settings.get('blur')
    kernel = gaussian_kernel(*blur, angle=0.6, scale=scale) if blur else None
    take = SimulatedCamera(scale, kernel, settings.get('noise', 0), tuple(settings.get('jpeg', ())))
    rng = np.random.default_rng(0)
    for path in images:
        write_png(output / path.name, take(read_image(path), rng))


def copy_images(folder: Path, output: Path, count: int) -> None:
    """Copy some images, evenly spaced by name."""
    paths = list_images(folder)
    for index in evenly_spaced(paths, count):
        write_png(output / paths[index].name, to_8bit(read_image(paths[index])))


def cropped(image: np.ndarray, scale: int) -> np.ndarray:
    """Crop an image to a multiple of the scale."""
    height, width = (length // scale * scale for length in image.shape[:2])
    return image[:height, :width]


def corners(shape: tuple[int, ...], side: int) -> Iterator[tuple[int, int]]:
    """Top and left of each sub-image."""
    for top in range(0, shape[0] - side + 1, side):
        for left in range(0, shape[1] - side + 1, side):
            yield top, left
