"""A generated set on disk: `lr/NAME.png`, `log_scale/NAME.npy` and `generation.json`."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np

from usrdu_basicsr.utils.errors import InputError
from usrdu_basicsr.utils.files import atomic_write, write_text

LR_FOLDER = 'lr'
LOG_SCALE_FOLDER = 'log_scale'
DESCRIPTION = 'generation.json'
# What numpy.save writes before such an array. numpy.load parses it with `ast`, which is slow for a map each sample, and
# which CPython 3.11 breaks off with a SystemError where a garbage collection in it parses too (its issue 106905).
HEADER = re.compile(
    rb"\x93NUMPY.{4,6}\{'descr': '(<f[248])', 'fortran_order': False, 'shape': \((\d+), (\d+), 3\), \} *\n", re.DOTALL
)
HEADER_BYTES = 256


def write_log_scale(path: Path, log_scale: np.ndarray) -> None:
    """Write `(H, W, 3)` RGB log-scales as float16, whole or not at all."""
    atomic_write(path, lambda file: np.save(file, log_scale.astype(np.float16)))


def decode_log_scale(content: bytes, name: str) -> np.ndarray:
    """The map of log-scales in the bytes of a file.

    Args:
        content: The bytes.
        name: Of the map, for messages.

    Returns:
        `(H, W, 3)` as stored (float16), RGB.

    Raises:
        InputError: It is damaged, of another shape, or not finite.
    """
    kind, size, start = _read_header(content[:HEADER_BYTES], len(content), name)
    log_scale = np.frombuffer(content, kind, offset=start).reshape(*size, 3)
    if not np.isfinite(log_scale).all():
        raise InputError(f"log-scales '{name}' hold values that are not finite: remove them and generate them again")
    return log_scale


def log_scale_size(path: Path) -> tuple[int, int]:
    """(height, width) of a map of log-scales, without reading it; the file's length is checked.

    Raises:
        InputError: It is missing, damaged or of another shape.
    """
    try:
        with open(path, 'rb') as file:
            return _read_header(file.read(HEADER_BYTES), path.stat().st_size, str(path))[1]
    except OSError as error:
        raise InputError(f"cannot read log-scales '{path}': generate them again ({error})") from error


def _read_header(start: bytes, length: int, name: str) -> tuple[str, tuple[int, int], int]:
    """Type of the numbers, (height, width), and where the numbers begin."""
    header = HEADER.match(start)
    if header is None:
        raise InputError(
            f"log-scales '{name}' are not floats of shape (H, W, 3), saved by numpy.save: remove them and generate them"
            ' again'
        )
    kind, height, width = header[1].decode(), int(header[2]), int(header[3])
    expected = header.end() + height * width * 3 * np.dtype(kind).itemsize
    if length != expected:
        raise InputError(
            f"cannot read log-scales '{name}': {length} of {expected} bytes; remove them and generate them again"
        )
    return kind, (height, width), header.end()


def check_lr_size(name: str, size: tuple[int, int], photo: str, photo_size: tuple[int, int], scale: int) -> None:
    """Refuse an LR image, or a map of log-scales, that is not the size that a DSN makes of its HR photo.

    Args:
        name: Of the image or map, for the message.
        size: Its (height, width).
        photo: Name of the HR photo, for the message.
        photo_size: Its (height, width).
        scale: HR pixels to an LR pixel.

    Raises:
        InputError: It is of another size.
    """
    expected = (photo_size[0] // scale, photo_size[1] // scale)
    if size != expected:
        raise InputError(
            f"'{name}': {size} pixels (height, width), expected {expected}: 1/{scale} of '{photo}'; generate the set"
            ' again'
        )


def read_description(folder: Path) -> dict[str, Any] | None:
    """`generation.json` of a set, or None where there is none.

    Raises:
        InputError: The file is not JSON, or says no scale.
    """
    path = folder / DESCRIPTION
    if not path.is_file():
        return None
    try:
        description = json.loads(path.read_text())
    except ValueError as error:
        raise InputError(f"'{path}' is not JSON: generate the set again ({error})") from error
    if not isinstance(description, dict) or not isinstance(description.get('scale'), int):
        raise InputError(f"'{path}' says no scale: generate the set again")
    return description


def write_description(folder: Path, description: dict[str, Any]) -> None:
    """Write `generation.json`, whole or not at all."""
    text = json.dumps(description, indent=2) + '\n'
    write_text(folder / DESCRIPTION, text)
