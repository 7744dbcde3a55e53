"""JPEG settings of image files, from their quantisation tables."""

import io
from collections import Counter
from collections.abc import Iterable
from functools import cache

from PIL import Image, JpegImagePlugin, UnidentifiedImageError

SUBSAMPLING = {0: '4:4:4', 1: '4:2:2', 2: '4:2:0'}


def jpeg_settings(contents: Iterable[bytes]) -> Counter[str]:
    """Count the JPEG settings of files.

    Args:
        contents: Contents of image files of any format.

    Returns:
        Number of files by settings such as `quality 85, 4:2:0`, and by `no JPEG`. The quality is that of libjpeg whose
        tables are nearest.
    """
    return Counter(_settings(content) for content in contents)


def _settings(content: bytes) -> str:
    try:
        with Image.open(io.BytesIO(content)) as image:
            tables = getattr(image, 'quantization', None)
            if not tables:
                return 'no JPEG'
            sampling = SUBSAMPLING.get(JpegImagePlugin.get_sampling(image), 'other subsampling')
    except (UnidentifiedImageError, Image.DecompressionBombError, OSError):
        return 'no JPEG'
    luma = tables[0]
    quality = min(range(1, 101), key=lambda q: sum(abs(a - b) for a, b in zip(luma, _luma_table(q), strict=True)))
    return f'quality {quality}, {sampling}'


@cache
def _luma_table(quality: int) -> list[int]:
    """Quantisation table of libjpeg for a quality."""
    buffer = io.BytesIO()
    Image.new('L', (8, 8)).save(buffer, 'JPEG', quality=quality)
    with Image.open(buffer) as image:
        return list(getattr(image, 'quantization')[0])  # noqa: B009 - only JPEG images have the attribute
