"""Size, channels and bit depth of one file of a dataset, found by decoding it."""

import io
from typing import NamedTuple

import numpy as np
from PIL import Image

from usrdu_basicsr.storage.source import IMAGE, FolderSource, Source
from usrdu_basicsr.utils.errors import InputError

MODE_NAMES = {
    'L': 'gray',
    'RGBA': 'RGB with alpha',
    'LA': 'gray with alpha',
    'P': 'palette',
    '1': 'black/white',
    'I;16': 'gray, 16 bits',
    'I;16B': 'gray, 16 bits',
    'F': 'gray, floating point',
}
FORMAT_ALIASES = {'MPO': 'JPEG'}  # a JPEG file that contains a second image, as written by phones


class ImageInfo(NamedTuple):
    """Properties of a file or of an LMDB value.

    Attributes:
        size: `(height, width)`, or None if it is unreadable.
        channels: Channels and bit depth of an image, such as `RGB` or `gray, 16 bits`.
        problem: Reason why training cannot use it, or empty.
        note: Unusual property that training accepts, or empty.
    """

    size: tuple[int, int] | None
    channels: str = ''
    problem: str = ''
    note: str = ''


def inspect_image(source: Source, index: int) -> ImageInfo:
    """Decode an image or a log-scale map and return its properties."""
    name = source.name(index)
    try:
        content = source.content(index)
        array = source.format.decode(content, name)
        recorded_size = source.size(index)
    except InputError as error:
        return ImageInfo(None, problem=str(error))
    size = (array.shape[0], array.shape[1])
    if recorded_size != size:
        problem = f"'{name}': got {size} pixels (height, width), expected {recorded_size} as in its meta info"
        return ImageInfo(size, problem=problem)
    if source.format != IMAGE:
        return ImageInfo(size)
    try:
        with Image.open(io.BytesIO(content)) as image:
            mode, file_format = image.mode, FORMAT_ALIASES.get(image.format or '', image.format)
    except (Image.DecompressionBombError, OSError):
        return ImageInfo(size, f'not supported by Pillow, {array.dtype}')
    channels = MODE_NAMES.get(mode, mode)
    if array.dtype == np.uint16 and 'bits' not in channels:  # Pillow converts 16-bit colour to 8 bits
        channels += ', 16 bits'
    extension = source.path(index).suffix.lower() if isinstance(source, FolderSource) else ''
    mismatch = Image.registered_extensions().get(extension) not in (file_format, None)
    return ImageInfo(size, channels, note=f"'{name}' is a {file_format} file despite its extension" if mismatch else '')
