"""Upscale images with a trained network."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import torch
from basicsr.archs.rrdbnet_arch import RRDBNet
from basicsr.utils import img2tensor
from torch import nn
from torch.nn import functional as F
from tqdm import tqdm

from usrdu_basicsr.errors import InputError, InputNotFoundError
from usrdu_basicsr.files import output_folder
from usrdu_basicsr.images import list_images, read_image, refuse_equal_stems, to_8bit, write_png

logger = logging.getLogger(__name__)


def upscale(network: nn.Module, image: np.ndarray) -> np.ndarray:
    """Upscale one image.

    Args:
        network: SR network, on its device.
        image: `(H, W, 3)` float32, BGR, [0, 1].

    Returns:
        `(H * s, W * s, 3)` uint8, BGR.
    """
    height, width = image.shape[:2]
    x = img2tensor(image)[None].to(next(network.parameters()).device)
    if isinstance(network, RRDBNet):  # for scales 2 and 1 it folds 2x2 and 4x4 pixels into channels
        fold = 4 // network.scale
        x = F.pad(x, (0, -width % fold, 0, -height % fold), mode='replicate')
    with torch.inference_mode():
        y = network(x)[0]
    scale = y.shape[-1] // x.shape[-1]  # not every network says its scale
    return to_8bit(y[:, : height * scale, : width * scale].permute(1, 2, 0).float().cpu().numpy()[..., ::-1])


def upscale_files(
    network: nn.Module, source: str | Path, output: str | Path, share: tuple[int, int] = (0, 1)
) -> list[str]:
    """Upscale a file or the images of a folder to `output/NAME.png`.

    A file that cannot be read is logged, and the others go on.

    Args:
        network: SR network, on its device.
        source: Image file or folder.
        output: Folder, made if missing.
        share: This process's rank, and how many there are: each takes its share of the images.

    Returns:
        Names of the files that failed.

    Raises:
        InputNotFoundError: `source` does not exist.
        InputError: The folder holds no image, or two of one name; `output` is a file or the input's own folder.
    """
    source, output = Path(source), output_folder(output)
    if not source.exists():
        raise InputNotFoundError(f"no file or folder '{source}': check the path, which is relative to '{Path.cwd()}'")
    paths = [source] if source.is_file() else list_images(source)
    refuse_equal_stems(paths)
    if output.resolve() == paths[0].parent.resolve():
        raise InputError(f"output '{output}' is the folder of the input, whose files it would replace: name another")
    failed = []
    for path in tqdm(paths[share[0] :: share[1]], unit='image', disable=share[0] != 0):
        try:
            write_png(output / f'{path.stem}.png', upscale(network, read_image(path)))
        except InputError as error:
            logger.error('%s', error)
            failed.append(path.name)
    return failed
