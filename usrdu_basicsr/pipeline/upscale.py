"""Upscale images with a trained network."""

from __future__ import annotations

import logging
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import nn
from tqdm import tqdm

from usrdu_basicsr.errors import InputError, InputNotFoundError
from usrdu_basicsr.images import list_images, read_image, to_8bit, write_png

logger = logging.getLogger(__name__)


def upscale(network: nn.Module, image: np.ndarray) -> np.ndarray:
    """Upscale one image.

    Args:
        network: SR network, on its device.
        image: `(H, W, 3)` float32, BGR, [0, 1].

    Returns:
        `(H * s, W * s, 3)` uint8, BGR.
    """
    device = next(network.parameters()).device
    x = torch.from_numpy(cv2.cvtColor(image, cv2.COLOR_BGR2RGB)).permute(2, 0, 1)[None].to(device)
    with torch.inference_mode():
        y = network(x)[0].permute(1, 2, 0).float().cpu().numpy()
    return to_8bit(y[..., ::-1])


def upscale_files(network: nn.Module, source: str | Path, output: str | Path) -> list[str]:
    """Upscale a file or the images of a folder to `output/NAME.png`.

    A file that cannot be read is logged, and the others go on.

    Args:
        network: SR network, on its device.
        source: Image file or folder.
        output: Folder, made if missing.

    Returns:
        Names of the files that failed.

    Raises:
        InputNotFoundError: `source` does not exist.
        InputError: The folder holds no image, or `output` is a file.
    """
    source, output = Path(source), Path(output)
    if output.is_file():
        raise InputError(f"output '{output}' is a file: name a folder")
    if not source.exists():
        raise InputNotFoundError(f"no file or folder '{source}': check the path, which is relative to '{Path.cwd()}'")
    failed = []
    for path in tqdm([source] if source.is_file() else list_images(source), unit='image'):
        try:
            write_png(output / f'{path.stem}.png', upscale(network, read_image(path)))
        except InputError as error:
            logger.error('%s', error)
            failed.append(path.name)
    return failed
