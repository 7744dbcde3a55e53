"""Prepare the demo's images: clean HR images, LR images of an unknown camera, and a paired validation set.

The images come with scikit-image. Their left halves are HR images, and the camera takes their right halves, so that
there are no pairs, but both sets have similar content, as sets of many scenes have. The simulated camera blurs,
downsamples, adds noise and compresses. Training sees only its images.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import torch
from skimage import data

from usrdu_basicsr.cli.command_line import run_script
from usrdu_basicsr.degradation.simulated_camera import made_camera
from usrdu_basicsr.ops.resize import bicubic_downsample
from usrdu_basicsr.utils.images import to_8bit, write_png

SCALE = 4
SUBIMAGE_SIZE = 144
SCENES = (
    *('chelsea', 'stereo_motorcycle', 'immunohistochemistry', 'hubble_deep_field', 'grass', 'gravel', 'brick'),
    *('rocket', 'retina', 'camera', 'coins', 'clock'),
)
VALIDATION = ('astronaut', 'coffee')


def sample_image(name: str) -> np.ndarray:
    """Read an image as `(H, W, 3)` float32, BGR, [0, 1]; both halves have multiples of the scale."""
    image = getattr(data, name)()
    image = np.asarray(image[0] if isinstance(image, tuple) else image)
    image = cv2.cvtColor(image, cv2.COLOR_GRAY2BGR if image.ndim == 2 else cv2.COLOR_RGB2BGR)
    height, width = (side // factor * factor for side, factor in zip(image.shape, (SCALE, 2 * SCALE), strict=False))
    return image[:height, :width].astype(np.float32) / 255


def downsample(image: np.ndarray) -> np.ndarray:
    """Downsample `(H, W, 3)` as MATLAB's bicubic `imresize`."""
    x = torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))[None]
    return bicubic_downsample(x, SCALE)[0].numpy().transpose(1, 2, 0)


def subimages(image: np.ndarray) -> Iterator[np.ndarray]:
    """Cut an image, so that a training patch decodes a sub-image and not the whole image."""
    for top in range(0, image.shape[0] - SUBIMAGE_SIZE + 1, SUBIMAGE_SIZE):
        for left in range(0, image.shape[1] - SUBIMAGE_SIZE + 1, SUBIMAGE_SIZE):
            yield image[top : top + SUBIMAGE_SIZE, left : left + SUBIMAGE_SIZE]


def main() -> int:
    """Write all images into one folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('-o', '--output', type=Path, default=Path('datasets/demo'))
    output = parser.parse_args().output
    camera, rng = made_camera('noise_jpeg', SCALE), np.random.default_rng(0)
    for name in SCENES:
        left, right = np.split(sample_image(name), 2, axis=1)
        write_png(output / 'camera' / f'{name}_right.png', camera(right, rng))
        for number, subimage in enumerate(subimages(left)):
            write_png(output / 'HR' / f'{name}_left_{number:02d}.png', to_8bit(subimage))
            write_png(output / 'HR_bicubic' / f'{name}_left_{number:02d}.png', to_8bit(downsample(subimage)))
    for name in VALIDATION:
        image = sample_image(name)
        write_png(output / 'validation' / 'HR' / f'{name}.png', to_8bit(image))
        write_png(output / 'validation' / 'camera' / f'{name}.png', camera(image, rng))
    return 0


if __name__ == '__main__':
    run_script(main)
