"""Encoding of images and log-scale maps for LMDBs and sub-image folders."""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np

from usrdu_basicsr.storage.lmdb_writer import Value
from usrdu_basicsr.storage.source import LOG_SCALE, Format
from usrdu_basicsr.utils.images import encode_png


@dataclass(frozen=True)
class PackingSettings:
    """Settings that `scripts/create_lmdb.py` and `scripts/extract_subimages.py` share.

    Attributes:
        workers: Number of processes that read and encode files.
        compression: PNG compression level, 0 (largest, fastest to read) to 9 (smallest).
        overwrite: Replace existing output.
    """

    workers: int = 1
    compression: int = 1
    overwrite: bool = False


DEFAULT_PACKING = PackingSettings()


def encode_value(array: np.ndarray, name: str, file_format: Format, compression: int) -> Value:
    """Encode an image as PNG, or a log-scale map as `numpy.save` does.

    Args:
        array: Decoded image or log-scale map, `(H, W, 3)`.
        name: Name of the array, for error messages.
        file_format: `IMAGE` or `LOG_SCALE`.
        compression: PNG compression level.

    Raises:
        InputError: If PNG does not support the data type of the image.
    """
    array = np.ascontiguousarray(array)
    if file_format == LOG_SCALE:
        file = io.BytesIO()
        np.save(file, array)
        return Value(file.getvalue(), array.shape, '.npy', 0)
    return Value(encode_png(array, name, compression), array.shape, '.png', compression)
