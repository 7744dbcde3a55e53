"""Small camera images from scikit-image."""

from pathlib import Path

import cv2
import numpy as np
from skimage import data


def sample_image(name: str = 'astronaut', height: int = 96, width: int = 112) -> np.ndarray:
    """Centre crop of a scikit-image sample, `(height, width, 3)` uint8, BGR."""
    image = getattr(data, name)()
    top, left = (image.shape[0] - height) // 2, (image.shape[1] - width) // 2
    return np.ascontiguousarray(image[top : top + height, left : left + width, ::-1])


def write_sample_images(
    folder: Path, count: int = 2, height: int = 96, width: int = 112, extension: str = 'png'
) -> list[Path]:
    """Write up to four images and return their paths, sorted by name."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name in ('astronaut', 'chelsea', 'coffee', 'rocket')[:count]:
        paths.append(folder / f'{name}.{extension}')
        assert cv2.imwrite(str(paths[-1]), sample_image(name, height, width))
    return paths


def downsample_images(folder: Path, output: Path, scale: int = 4) -> None:
    """Downsample each image of a folder and write it under the same name."""
    output.mkdir(parents=True, exist_ok=True)
    for path in sorted(folder.iterdir()):
        image = cv2.imread(str(path))
        size = (image.shape[1] // scale, image.shape[0] // scale)
        assert cv2.imwrite(str(output / path.name), cv2.resize(image, size, interpolation=cv2.INTER_AREA))
