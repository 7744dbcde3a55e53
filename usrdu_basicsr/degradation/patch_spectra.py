"""Power spectra of patches of a folder of images."""

import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from basicsr.utils import img2tensor
from torch import Tensor

from usrdu_basicsr.ops.resize import bicubic_downsample
from usrdu_basicsr.ops.spectrum import power_spectrum
from usrdu_basicsr.storage.source import Source, evenly_spaced
from usrdu_basicsr.utils.errors import InputError
from usrdu_basicsr.utils.images import to_float

logger = logging.getLogger(__name__)

PATCH = 32  # side of a patch in LR pixels
MARGIN = 4  # LR pixels around an HR patch, which bicubic downsampling of the patch needs
PATCHES = 48  # of an image, at most


@dataclass(frozen=True)
class PatchSpectra:
    """Power spectra of patches.

    Attributes:
        power: `(N, 3, P, P)` float32, RGB, squared gray levels.
        image: `(N,)` index of the image of each patch.
        clipped: `(N,)` share of black or white values, which have no noise.
    """

    power: Tensor
    image: Tensor
    clipped: Tensor

    @property
    def images(self) -> int:
        """Number of images."""
        return int(self.image[-1]) + 1


def patch_spectra(source: Source, scale: int, images: int, workers: int) -> PatchSpectra:
    """Compute the spectra of random patches of evenly spaced images.

    Args:
        source: Images.
        scale: Factor by which patches are bicubically downsampled; 1 for LR images.
        images: Number of images, at most.
        workers: Number of reading threads.

    Raises:
        InputError: If no image can be read and is large enough. Single ones are logged.
    """
    results: list[tuple[Tensor, Tensor]] = []
    with ThreadPoolExecutor(workers) as threads:
        for result in threads.map(lambda index: _image_spectra(source, index, scale), evenly_spaced(source, images)):
            if result is not None:
                results.append(result)
    if not results:
        side = (PATCH + 2 * MARGIN) * scale if scale > 1 else PATCH
        raise InputError(f"'{source.root}': got no readable image of at least {side}x{side} pixels")
    power, clipped = (torch.cat(parts) for parts in zip(*results, strict=True))
    sizes = torch.tensor([len(spectra) for spectra, _ in results])
    return PatchSpectra(power, torch.arange(len(results)).repeat_interleave(sizes), clipped)


def _image_spectra(source: Source, index: int, scale: int) -> tuple[Tensor, Tensor] | None:
    """Spectra `(n, 3, P, P)` and clipped shares `(n,)` of one image, or None if it is unusable."""
    try:
        image = to_float(source.read(index))
    except InputError as error:
        logger.warning('Image skipped: %s', error)
        return None
    rng = np.random.default_rng(index)
    patches = torch.stack(list(_patches(image, scale, rng)) or [torch.empty(0)])
    if not patches.numel():
        size = f'{image.shape[0]}x{image.shape[1]}'
        logger.warning("Image skipped: '%s': got %s pixels, too small for a patch", source.name(index), size)
        return None
    if scale > 1:
        patches = bicubic_downsample(patches, scale)[..., MARGIN:-MARGIN, MARGIN:-MARGIN]
    clipped = ((patches <= 0) | (patches >= 1)).float().mean((1, 2, 3))
    return power_spectrum(255 * patches.flatten(0, 1)).unflatten(0, (-1, 3)), clipped


def _patches(image: np.ndarray, scale: int, rng: np.random.Generator) -> Iterator[Tensor]:
    """Random patches of an image `(H, W, 3)` BGR on a grid of half their size, `(3, side, side)` RGB."""
    side = (PATCH + 2 * MARGIN) * scale if scale > 1 else PATCH
    step = PATCH * scale // 2
    rows, columns = (range(0, length - side + 1, step) for length in image.shape[:2])
    positions = rng.permutation(len(rows) * len(columns))[:PATCHES]
    for position in positions.tolist():
        top, left = rows[position // len(columns)], columns[position % len(columns)]
        yield img2tensor(image[top : top + side, left : left + side])
