"""JPEG settings of image files, from their quantisation tables or from pixels that were compressed before."""

import io
import math
from contextlib import suppress
from functools import cache
from typing import NamedTuple

import numpy as np
from PIL import Image, JpegImagePlugin, UnidentifiedImageError
from scipy.fft import dctn

from usrdu_basicsr.storage.source import Source, evenly_spaced
from usrdu_basicsr.utils.errors import InputError
from usrdu_basicsr.utils.images import decode_image

SUBSAMPLING = {0: '4:4:4', 1: '4:2:2', 2: '4:2:0'}
QUALITIES = range(5, 97)  # that are recognised in pixels; above, all steps are about 1 gray level
LUMA_BGR = (0.114, 0.587, 0.299)
ROUNDING = 0.3  # standard deviation of a coefficient after a decoder rounded luma and then RGB
OUTLIERS = 0.1  # share of coefficients that a later change moved
BLOCKS = 300  # of an image, at most
MIN_EVIDENCE = 20  # measured: less than 5 without compression, more than 50 after it for nearly all images


class JPEGSettings(NamedTuple):
    """JPEG settings of a file.

    Attributes:
        quality: Of libjpeg; 0 without compression.
        label: Text such as `quality 85, 4:2:0` for settings from quantisation tables, with the nearest quality;
            `estimated quality 85` from the pixels of other formats; `no JPEG`; `unreadable`.
    """

    quality: int
    label: str


def source_settings(source: Source, images: int) -> list[JPEGSettings]:
    """JPEG settings of at most `images` evenly spaced files; missing ones are left out."""
    settings = []
    for index in evenly_spaced(source, images):
        with suppress(InputError):
            settings.append(jpeg_settings(source.content(index)))
    return settings


def jpeg_settings(content: bytes) -> JPEGSettings:
    """JPEG settings of the content of an image file of any format."""
    try:
        with Image.open(io.BytesIO(content)) as image:
            tables = getattr(image, 'quantization', None)
            if tables:
                quality = _nearest_quality(next(iter(tables.values())))
                return JPEGSettings(quality, f'quality {quality}, {_sampling(image)}')
        pixels = decode_image(content, 'image')
    except (UnidentifiedImageError, Image.DecompressionBombError, OSError, ValueError, InputError):
        return JPEGSettings(0, 'unreadable')
    estimate = estimate_quality(pixels) if pixels.dtype == np.uint8 else None
    return JPEGSettings(0, 'no JPEG') if estimate is None else JPEGSettings(estimate, f'estimated quality {estimate}')


def _sampling(image: Image.Image) -> str:
    if len(image.getbands()) != 3:
        return {1: 'gray', 4: 'CMYK'}[len(image.getbands())]
    return SUBSAMPLING.get(JpegImagePlugin.get_sampling(image), 'other subsampling')


def _nearest_quality(luma: list[int]) -> int:
    return min(range(1, 101), key=lambda q: sum(abs(a - b) for a, b in zip(luma, luma_table(q), strict=True)))


def estimate_quality(image: np.ndarray) -> int | None:
    """Estimate the quality of an earlier JPEG compression from pixels, by maximum likelihood.

    Coefficients of the luma lie near multiples of the steps of their quantisation table, with the rounding of the
    pixels as error. The blocks must start at the top left corner, as in a file that was never cropped.

    Args:
        image: `(H, W, 3)` uint8, BGR.

    Returns:
        Quality of libjpeg; None if the image has too little detail or was not compressed.
    """
    height, width = (side // 8 * 8 for side in image.shape[:2])
    blocks = image[:height, :width].reshape(height // 8, 8, width // 8, 8, 3).swapaxes(1, 2).reshape(-1, 8, 8, 3)
    blocks = blocks[((blocks > 0) & (blocks < 255)).all((1, 2, 3))]  # clipping changes coefficients
    blocks = blocks[np.linspace(0, len(blocks) - 1, min(len(blocks), BLOCKS)).astype(int)]
    coefficients = dctn(blocks @ np.array(LUMA_BGR, np.float32) - 128, axes=(1, 2), norm='ortho')
    coefficients = coefficients.reshape(-1, 64)[:, 1:]  # in flat images DC is the same everywhere
    quality = max(QUALITIES, key=lambda each: _evidence(coefficients, each)[1].sum())
    multiples, evidence = _evidence(coefficients, quality)
    # A value that a pattern or a ramp repeats counts once: it is near a multiple of some step by chance.
    values = multiples + 4096 * np.arange(63)  # different for each frequency
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    return quality if (evidence.ravel() / counts[inverse.ravel()]).sum() > MIN_EVIDENCE else None


def _evidence(coefficients: np.ndarray, quality: int) -> tuple[np.ndarray, np.ndarray]:
    """Nearest multiples of the steps, and log-likelihood ratios of a compression and none.

    The ratio is 0 where the multiple is 0: smooth images have coefficients near 0 without compression.

    Args:
        coefficients: `(N, 63)` float32, without DC.
        quality: Quality of the compression.

    Returns:
        Two arrays `(N, 63)`.
    """
    steps = np.array(luma_table(quality)[1:], np.float32)
    multiples = np.rint(coefficients / steps)
    used = multiples != 0
    error = (coefficients - steps * multiples)[used] / ROUNDING
    density = np.broadcast_to(steps, used.shape)[used] * np.exp(-(error**2) / 2) / (ROUNDING * math.sqrt(2 * math.pi))
    evidence = np.zeros_like(multiples)
    evidence[used] = np.log((1 - OUTLIERS) * density + OUTLIERS)
    return multiples, evidence


@cache
def luma_table(quality: int) -> list[int]:
    """Quantisation table of libjpeg for a quality, 64 steps in row order."""
    buffer = io.BytesIO()
    Image.new('L', (8, 8)).save(buffer, 'JPEG', quality=quality)
    with Image.open(buffer) as image:
        return list(getattr(image, 'quantization')[0])  # noqa: B009 - only JPEG images have the attribute
