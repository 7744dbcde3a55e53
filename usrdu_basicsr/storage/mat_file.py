"""Arrays of MATLAB files of level 5, which MATLAB (`-v6`, `-v7`) and SciPy write.

SciPy's reader ends the process with a segmentation fault for some damaged files. Format:
https://www.mathworks.com/help/pdf_doc/matlab/matfile_format.pdf
"""

import struct
import zlib
from collections.abc import Iterator

import numpy as np

HEADER_BYTES = 128  # text, version, and the mark of the byte order
BYTE_ORDERS = {b'IM': '<', b'MI': '>'}
NUMBERS = {1: 'i1', 2: 'u1', 3: 'i2', 4: 'u2', 5: 'i4', 6: 'u4', 7: 'f4', 9: 'f8', 12: 'i8', 13: 'u8'}
MATRIX, COMPRESSED = 14, 15  # other types of elements
NUMERIC_CLASSES = range(6, 16)
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
    if order is None:
        raise ValueError("got no MATLAB file of level 5. In MATLAB save it with '-v7'")
    try:
        return dict(_variables(content[HEADER_BYTES:], order))
    except (struct.error, zlib.error) as error:
        raise ValueError(str(error)) from error


def _variables(content: bytes, order: str) -> Iterator[tuple[str, np.ndarray | None]]:
    for kind, body in _elements(content, order):
        if kind == COMPRESSED:
            stream = zlib.decompressobj()
            unpacked = stream.decompress(body, MAX_BYTES)
            if not stream.eof:
                raise ValueError(f'got an incomplete compressed element, or one of more than {MAX_BYTES} bytes')
            yield from _variables(unpacked, order)
        elif kind == MATRIX:
            yield _variable(list(_elements(body, order)), order)


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
    """Name and array of the elements flags, shape, name and values."""
    if len(elements) < 3 or len(elements[0][1]) < 4 or len(elements[1][1]) % 4:
        raise ValueError('got an incomplete array')
    (_, flags), (_, sides), (_, name) = elements[:3]
    flag = struct.unpack_from(f'{order}I', flags)[0]
    if flag & 0xFF not in NUMERIC_CLASSES or flag & COMPLEX:
        return name.decode('latin-1'), None
    if len(elements) != 4 or (kind := elements[3][0]) not in NUMBERS:
        raise ValueError('got an array without values')
    values = np.frombuffer(elements[3][1], order + NUMBERS[kind])
    return name.decode('latin-1'), values.reshape(np.frombuffer(sides, f'{order}i4'), order='F')
