"""Cut one photo, with what belongs to it, into tiles."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from usrdu_basicsr.storage.formats import LOG_SCALE, Format
from usrdu_basicsr.storage.lmdb_writer import Value
from usrdu_basicsr.utils.files import read_bytes
from usrdu_basicsr.utils.images import encode_png


class Cut(NamedTuple):
    """One photo, with what belongs to it."""

    stem: str
    parts: list[tuple[Path, Format, int]]
    """Of each layer: file, format, reduction."""


def crop_subimages(cut: Cut, crop: int, step: int, compression: int) -> Mapping[str, list[Value]]:
    """The tiles of a photo.

    Returns:
        For each tile's name, `STEM_s001` and so on row by row as BasicSR numbers them, its encoded parts.

    Raises:
        InputError: A file is damaged.
    """
    parts = [
        (file_format.decode(read_bytes(path), str(path)), path, file_format, reduction)
        for path, file_format, reduction in cut.parts
    ]
    largest = max(reduction for *_, reduction in parts)
    height, width = (side // largest * largest for side in parts[0][0].shape[:2])
    tiles: dict[str, list[Value]] = {}
    for top in subimage_starts(height, crop, step):
        for left in subimage_starts(width, crop, step):
            tiles[f'{cut.stem}_s{len(tiles) + 1:03d}'] = [
                _encode(
                    array[_window(top, crop, reduction), _window(left, crop, reduction)], path, file_format, compression
                )
                for array, path, file_format, reduction in parts
            ]
    return tiles


def subimage_starts(length: int, crop: int, step: int) -> list[int]:
    """Where tiles start along a side of `length` pixels: each `step`, and one that ends at the border."""
    last = max(length - crop, 0)
    return [*range(0, last, step), last]


def _window(start: int, crop: int, reduction: int) -> slice:
    return slice(start // reduction, (start + crop) // reduction)


def _encode(tile: np.ndarray, path: Path, file_format: Format, compression: int) -> Value:
    if file_format == LOG_SCALE:
        file = io.BytesIO()
        np.save(file, np.ascontiguousarray(tile))
        return Value(file.getvalue(), tile.shape, '.npy', 0)
    return Value(encode_png(np.ascontiguousarray(tile), str(path), compression), tile.shape, '.png', compression)
