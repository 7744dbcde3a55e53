"""Arrays of NumPy files (`.npy`), with exact errors for damaged ones.

`numpy.load` allocates what a damaged header claims, and parses the header with `ast`: slow for one map per sample, with
exceptions of many types, and in CPython 3.11 a SystemError if a garbage collection during the parsing also parses
(CPython issue 106905).
"""

import math
import re
from dataclasses import dataclass
from typing import Literal

import numpy as np

HEADER = re.compile(
    rb"\x93NUMPY.{4,6}\{'descr': '([<>|][fiuc]\d{1,2})', 'fortran_order': (True|False), 'shape': \(([\d, ]*)\), \} *\n",
    re.DOTALL,
)
HEADER_BYTES = 256  # more than the header of an array of numbers has


@dataclass(frozen=True)
class Header:
    """Description of an array of numbers in a NumPy file.

    Attributes:
        dtype: Data type.
        shape: Shape.
        order: Order of the values, as for `numpy.reshape`.
        offset: Position of the values in the file, bytes.
    """

    dtype: np.dtype
    shape: tuple[int, ...]
    order: Literal['C', 'F']
    offset: int

    @property
    def file_bytes(self) -> int:
        """Size of the whole file."""
        return self.offset + math.prod(self.shape) * self.dtype.itemsize


def parse_header(start: bytes, file_bytes: int) -> Header:
    """Parse the header that `numpy.save` writes for an array of numbers.

    Args:
        start: First `HEADER_BYTES` of the file.
        file_bytes: Size of the file.

    Raises:
        ValueError: If the header is damaged, describes other values, or does not match the size of the file.
    """
    match = HEADER.match(start)
    if match is None:
        raise ValueError('expected an array of numbers saved by numpy.save')
    try:
        dtype = np.dtype(match[1].decode())
    except TypeError as error:
        raise ValueError(str(error)) from error
    shape = tuple(int(side) for side in match[3].replace(b',', b' ').split())
    header = Header(dtype, shape, 'F' if match[2] == b'True' else 'C', match.end())
    if file_bytes != header.file_bytes:
        raise ValueError(f'got {file_bytes} bytes, expected {header.file_bytes}')
    return header


def decode_array(content: bytes) -> np.ndarray:
    """Decode the content of a file, with a ValueError as `parse_header`. The array is read-only."""
    header = parse_header(content[:HEADER_BYTES], len(content))
    return np.frombuffer(content, header.dtype, offset=header.offset).reshape(header.shape, order=header.order)
