"""Power spectra of patches of a folder of images."""

import logging
import math
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from usrdu_basicsr.ops.resize import bicubic_downsample
from usrdu_basicsr.ops.spectrum import frequency_halves, frequency_radius, patch_spectrum
from usrdu_basicsr.storage.source import Source, evenly_spaced
from usrdu_basicsr.utils.errors import InputError
from usrdu_basicsr.utils.images import to_float

ImageSpectra = tuple[Tensor, ...]  # fields of `PatchSpectra` but `image`, of one image
logger = logging.getLogger(__name__)

PATCH = 32  # side of a patch in LR pixels
MARGIN = 2  # LR pixels around an HR patch, which bicubic downsampling of the patch needs
LOGGED = 3  # skipped images that are named
PATCHES = 48  # of an image, at most
CROP = 128  # largest side of the centre of a sample that is measured, LR pixels; it has enough patches
COVARIANCE_BAND = 0.2  # lowest frequency, cycles per pixel


@dataclass(frozen=True)
class PatchSpectra:
    """Power spectra of patches.

    Attributes:
        power: `(N, 3, P, P)` float32, RGB, squared gray levels.
        noise_power: That of the noise if the noise-free images are known; otherwise `power`.
        image: `(N,)` index of the image of each patch.
        clipped: `(N,)` share of black or white values, which have no noise.
        brightness: `(N, 3)` mean, RGB, gray levels.
        covariance: `(N, 2, 3, 3)` of the noise of the RGB channels above `COVARIANCE_BAND` cycles per pixel, in each of
            `ops.spectrum.frequency_halves`, squared gray levels.
        pixels: `(N, 3, P, P)` uint8, RGB.
    """

    power: Tensor
    noise_power: Tensor
    image: Tensor
    clipped: Tensor
    brightness: Tensor
    covariance: Tensor
    pixels: Tensor

    @property
    def images(self) -> int:
        """Number of images."""
        return int(self.image[-1]) + 1


def patch_spectra(source: Source, scale: int, images: int, workers: int) -> PatchSpectra:
    """Compute the spectra of random patches of evenly spaced images.

    Args:
        source: Images.
        scale: Factor by which patches are bicubically downsampled; 1 for LR images.
        images: Number of images, see `measured_indices`.
        workers: Number of reading threads.

    Raises:
        InputError: If no image can be read and is large enough. Single ones are logged.
    """
    indices = measured_indices(source, images, scale)
    with ThreadPoolExecutor(workers) as threads:
        results = list(threads.map(lambda index: _read_and_measure(source, index, scale), indices))
    skipped = [result for result in results if isinstance(result, str)]
    for reason in skipped[:LOGGED]:
        logger.warning('Image skipped: %s', reason)
    if len(skipped) > LOGGED:
        logger.warning('%d of %d images skipped', len(skipped), len(indices))
    spectra = combine_spectra(result for result in results if not isinstance(result, str))
    if spectra is None:
        side = patch_side(scale)
        raise InputError(f"'{source.root}': got no readable image of at least {side}x{side} pixels. Add images")
    return spectra


def measured_indices(source: Source, images: int, scale: int = 1) -> list[int]:
    """Indices of evenly spaced images, `images` of at least `PATCHES` patches or more smaller ones with as many."""
    indices = evenly_spaced(source, images)
    patches = 0
    for index in indices:
        with suppress(InputError):  # reading the image reports it
            rows, columns = _grid(source.size(index), scale)
            patches += min(len(rows) * len(columns), PATCHES)
    return evenly_spaced(source, math.ceil(images * len(indices) * PATCHES / patches)) if patches else indices


def _read_and_measure(source: Source, index: int, scale: int) -> ImageSpectra | str:
    """Spectra of an image, or the reason why it is unusable."""
    try:
        image = source.read(index)
    except InputError as error:
        return str(error)
    spectra = image_spectra(image, index, scale)
    if spectra is None:
        return f"'{source.name(index)}': got {image.shape[0]}x{image.shape[1]} pixels, too small for a patch"
    return spectra


def combine_spectra(images: Iterable[ImageSpectra | None]) -> PatchSpectra | None:
    """Combine the spectra of images, each by `image_spectra`; None if no image is large enough."""
    usable = [each for each in images if each is not None]
    if not usable:
        return None
    image = torch.arange(len(usable)).repeat_interleave(torch.tensor([len(each[0]) for each in usable]))
    power, noise_power, *others = (torch.cat(parts) for parts in zip(*usable, strict=True))
    return PatchSpectra(power, noise_power, image, *others)


def image_spectra(
    image: np.ndarray, seed: int, scale: int = 1, noise_free: np.ndarray | None = None
) -> ImageSpectra | None:
    """Spectra of random patches of an image; None if it is too small.

    Args:
        image: `(H, W, 3)` BGR, uint8, uint16 or float32.
        seed: Random seed of the patches.
        scale: See `patch_spectra`.
        noise_free: The image without its noise, if known, at scale 1.
    """
    content = _without_borders(image)
    patches = _patches(image[content], scale, seed)
    if not len(patches):
        return None
    if scale > 1:
        patches = bicubic_downsample(patches, scale)[..., MARGIN:-MARGIN, MARGIN:-MARGIN]
    noise = patches
    if noise_free is not None:
        noise = patches - _patches(noise_free[content], scale, seed)
    clipped = ((patches <= 0) | (patches >= 1)).float().mean((1, 2, 3))
    spectrum = patch_spectrum(255 * noise)
    upper = frequency_radius(PATCH) > COVARIANCE_BAND
    parts = [spectrum[..., half & upper] for half in frequency_halves(PATCH)]  # (N, 3, frequencies) each
    covariance = torch.stack([(part @ part.mH).real / part.shape[-1] for part in parts], 1)
    noise_power = spectrum.abs().square()
    power = noise_power if noise_free is None else patch_spectrum(255 * patches).abs().square()
    pixels = (255 * patches).round().clamp(0, 255).byte()
    return power, noise_power, clipped, 255 * patches.mean((2, 3)), covariance, pixels


def _without_borders(image: np.ndarray) -> tuple[slice, slice]:
    """Rows and columns of an image between those of one colour at its edges, which have no noise."""
    rows, columns = ((image != first).any(axes) for first, axes in ((image[:, :1], (1, 2)), (image[:1], (0, 2))))
    top, left = (int(inside.argmax()) for inside in (rows, columns))
    bottom, right = (len(inside) - int(inside[::-1].argmax()) for inside in (rows, columns))
    return slice(top, bottom), slice(left, right)


def patch_side(scale: int) -> int:
    """Side of a patch in pixels of the image."""
    return (PATCH + 2 * MARGIN) * scale if scale > 1 else PATCH


def _grid(size: Sequence[int], scale: int) -> list[range]:
    """Tops and lefts of the patches of an image of this size, on a grid of half their size."""
    return [range(0, length - patch_side(scale) + 1, PATCH * scale // 2) for length in size]


def _patches(image: np.ndarray, scale: int, seed: int) -> Tensor:
    """Random patches of an image `(H, W, 3)` BGR as `(N, 3, side, side)` RGB in [0, 1]; none if it is too small."""
    side = patch_side(scale)
    rows, columns = _grid(image.shape[:2], scale)
    positions = np.random.default_rng(seed).permutation(len(rows) * len(columns))[:PATCHES]
    if not len(positions):
        return torch.empty(0, 3, side, side)
    windows = np.lib.stride_tricks.sliding_window_view(image, (side, side), axis=(0, 1))[:: rows.step, :: columns.step]
    patches = windows[positions // len(columns), positions % len(columns)]
    return torch.from_numpy(to_float(patches)).flip(1).contiguous()
