"""What one file of a dataset is, found by decoding it."""

from __future__ import annotations

import io
from typing import NamedTuple

from PIL import Image, UnidentifiedImageError

from usrdu_basicsr.storage.folder_source import FolderSource
from usrdu_basicsr.storage.formats import IMAGE
from usrdu_basicsr.storage.source import Source
from usrdu_basicsr.utils.errors import InputError

KINDS = {
    'L': 'gray',
    'RGBA': 'RGB with alpha',
    'LA': 'gray with alpha',
    'P': 'palette',
    '1': 'black/white',
    'I;16': 'gray, 16 bits',
    'I;16B': 'gray, 16 bits',
    'F': 'gray, floating point',
}
FORMAT_ALIASES = {'MPO': 'JPEG'}  # phones write JPEGs with a second image in them


class ImageInfo(NamedTuple):
    """What a file or a value is."""

    size: tuple[int, int] | None
    """(height, width), or None if it cannot be read."""
    kind: str = ''
    """Its channels and depth, of an image file."""
    problem: str = ''
    """Why it cannot be used."""
    note: str = ''
    """What is odd about it, though it can be."""


def inspect_image(source: Source, index: int) -> ImageInfo:
    """Decode one image or map of log-scales, and say what it is."""
    try:
        content = source.content(index)
        array = source.format.decode(content, source.name(index))
        size = (array.shape[0], array.shape[1])
        recorded = source.size(index)
    except InputError as error:
        return ImageInfo(None, problem=str(error))
    name = source.name(index)
    if recorded != size:
        return ImageInfo(size, problem=f"'{name}' is {size} pixels (height, width), its meta info says {recorded}")
    if source.format != IMAGE:
        return ImageInfo(size)
    extension = source.path(index).suffix if isinstance(source, FolderSource) else ''
    return _inspect_file(content, name, extension, size, array.dtype.name)


def _inspect_file(content: bytes, name: str, extension: str, size: tuple[int, int], depth: str) -> ImageInfo:
    try:
        with Image.open(io.BytesIO(content)) as image:
            mode, held = image.mode, FORMAT_ALIASES.get(image.format or '', image.format)
    except (UnidentifiedImageError, Image.DecompressionBombError, OSError):
        return ImageInfo(size, f'unknown to Pillow, {depth}')
    kind = KINDS.get(mode, mode)
    if depth == 'uint16' and 'bits' not in kind:  # Pillow reduces 16-bit colour
        kind = f'{kind}, 16 bits'
    expected = Image.registered_extensions().get(extension.lower())
    note = f"'{name}' is a {held} file, in spite of its name" if expected not in (held, None) else ''
    return ImageInfo(size, kind, note=note)
