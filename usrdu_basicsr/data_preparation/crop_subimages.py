"""Crop one image, with the LR image and log-scale map that belong to it, into sub-images."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from usrdu_basicsr.data_preparation.packing import encode_value
from usrdu_basicsr.storage.lmdb_writer import Value
from usrdu_basicsr.storage.source import Format
from usrdu_basicsr.utils.files import read_bytes


class LayerFile(NamedTuple):
    """File of one layer, with the format and scale of the layer."""

    path: Path
    format: Format
    scale: int


def crop_subimages(files: list[LayerFile], crop: int, step: int, compression: int) -> list[list[Value]]:
    """Crop the files of one image.

    Returns:
        Encoded files of each sub-image, row by row.

    Raises:
        InputError: If a file is corrupt.
    """
    arrays = [file.format.decode(read_bytes(file.path), str(file.path)) for file in files]
    largest = max(file.scale for file in files)
    height, width = (side // largest * largest for side in arrays[0].shape[:2])
    return [
        [
            encode_value(
                array[_window(top, crop, file.scale), _window(left, crop, file.scale)],
                str(file.path),
                file.format,
                compression,
            )
            for array, file in zip(arrays, files, strict=True)
        ]
        for top in subimage_starts(height, crop, step)
        for left in subimage_starts(width, crop, step)
    ]


def subimage_starts(length: int, crop: int, step: int) -> list[int]:
    """Positions of sub-images along a side of `length` pixels: multiples of `step`, and one that ends at the border."""
    last = max(length - crop, 0)
    return [*range(0, last, step), last]


def _window(start: int, crop: int, scale: int) -> slice:
    return slice(start // scale, (start + crop) // scale)
