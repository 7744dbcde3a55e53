"""Arrays of MATLAB files of level 5, which MATLAB (`-v6`, `-v7`) and SciPy write.

SciPy's reader ends the process with a segmentation fault for some damaged files. Format:
https://www.mathworks.com/help/pdf_doc/matlab/matfile_format.pdf
"""

import struct
import zlib
from collections.abc import Iterator

import numpy as np

HEADER_BYTES = 128  # text, version, and the mark of the byte order
LEVEL_5 = 0x100  # version in the header; 0x200 is HDF5 (`-v7.3`)
BYTE_ORDERS = {b'IM': '<', b'MI': '>'}
NUMBERS = {1: 'i1', 2: 'u1', 3: 'i2', 4: 'u2', 5: 'i4', 6: 'u4', 7: 'f4', 9: 'f8', 12: 'i8', 13: 'u8'}
MATRIX, COMPRESSED = 14, 15  # other types of elements
NUMERIC_CLASSES = range(6, 16)
OPAQUE_CLASS = 17  # of MATLAB's objects, such as strings and tables
COMPLEX = 0x800
MAX_BYTES = 1 << 26  # of a decompressed element


def decode_arrays(content: bytes) -> dict[str, np.ndarray | None]:
    """Decode the content of a file.

    Returns:
        Arrays of real numbers by name, and None for each other value.

    Raises:
        ValueError: If the content is damaged or of another format.
    """
    order = BYTE_ORDERS.get(content[HEADER_BYTES - 2 : HEADER_BYTES])
    try:
        if order is None or struct.unpack_from(f'{order}H', content, HEADER_BYTES - 4)[0] != LEVEL_5:
            raise ValueError("got no MATLAB file of level 5. In MATLAB save it with '-v7'")
        elements = (_decompressed(*element, order) for element in _elements(content[HEADER_BYTES:], order))
        return dict(_variable(list(_elements(body, order)), order) for kind, body in elements if kind == MATRIX)
    except (struct.error, zlib.error) as error:
        raise ValueError(str(error)) from error


def _decompressed(kind: int, content: bytes, order: str) -> tuple[int, bytes]:
    """Type and content of an element, or of the element that it contains in compressed form."""
    if kind != COMPRESSED:
        return kind, content
    stream = zlib.decompressobj()
    unpacked = stream.decompress(content, MAX_BYTES)
    if not stream.eof:
        raise ValueError(f'got an incomplete compressed element, or one of more than {MAX_BYTES} bytes')
    return next(_elements(unpacked, order), (0, b''))


def _elements(content: bytes, order: str) -> Iterator[tuple[int, bytes]]:
    """Types and contents of consecutive elements."""
    position = 0
    while position < len(content):
        kind, size = struct.unpack_from(f'{order}II', content, position)
        start = position + 8
        if kind >> 16:  # small element: size, type and up to four bytes of content in eight bytes
            kind, size, start = kind & 0xFFFF, kind >> 16, position + 4
        end = start + size
        if end > len(content) or (start == position + 4 and size > 4):
            raise ValueError(f'got an element of {size} bytes, expected at most {len(content) - start}')
        yield kind, content[start:end]
        position = end if kind == COMPRESSED else max(position + 8, end + -end % 8)


def _variable(elements: list[tuple[int, bytes]], order: str) -> tuple[str, np.ndarray | None]:
    """Name and array of the elements flags, shape, name and values; opaque objects have no shape."""
    contents = [content for _, content in elements]
    if len(contents) < 3:
        raise ValueError('got an incomplete array')
    flags = struct.unpack_from(f'{order}I', contents[0])[0]
    if flags & 0xFF not in NUMERIC_CLASSES or flags & COMPLEX:
        return contents[1 if flags & 0xFF == OPAQUE_CLASS else 2].decode('latin-1'), None
    if len(elements) != 4 or (kind := elements[3][0]) not in NUMBERS:
        raise ValueError('got an array without values')
    sides = np.frombuffer(contents[1], f'{order}i4')
    if (sides < 0).any():
        raise ValueError(f'got sides {sides.tolist()}')
    values = np.frombuffer(contents[3], order + NUMBERS[kind])
    return contents[2].decode('latin-1'), values.reshape(sides, order='F')
