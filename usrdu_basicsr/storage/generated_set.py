"""Generated set on disk: `lr/NAME.png`, `log_scale/NAME.npy` and `generation.json`."""

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
# Header of such an array as numpy.save writes it. numpy.load parses the header with `ast`, which is slow for one map
# per sample. In CPython 3.11 it fails with a SystemError if a garbage collection during the parsing also parses
# (CPython issue 106905).
HEADER = re.compile(
    rb"\x93NUMPY.{4,6}\{'descr': '(<f[248])', 'fortran_order': False, 'shape': \((\d+), (\d+), 3\), \} *\n", re.DOTALL
)
HEADER_BYTES = 256


def write_log_scale(path: Path, log_scale: np.ndarray) -> None:
    """Write a log-scale map `(H, W, 3)` RGB as float16, atomically."""
    atomic_write(path, lambda file: np.save(file, log_scale.astype(np.float16)))


def decode_log_scale(content: bytes, name: str) -> np.ndarray:
    """Decode the content of the log-scale map `name`.

    Returns:
        `(H, W, 3)` RGB in the stored data type (float16).

    Raises:
        InputError: If it is corrupt, has another shape, or contains non-finite values.
    """
    dtype, size, offset = _read_header(content[:HEADER_BYTES], len(content), name)
    log_scale = np.frombuffer(content, dtype, offset=offset).reshape(*size, 3)
    if not np.isfinite(log_scale).all():
        raise InputError(f"log-scale map '{name}' contains non-finite values. Remove it and generate it again")
    return log_scale


def log_scale_size(path: Path) -> tuple[int, int]:
    """Read `(height, width)` from the header of a log-scale map, with an InputError if it is missing or corrupt."""
    try:
        with open(path, 'rb') as file:
            return _read_header(file.read(HEADER_BYTES), path.stat().st_size, str(path))[1]
    except OSError as error:
        raise InputError(f"cannot read log-scale map '{path}' ({error}). Generate it again") from error


def _read_header(start: bytes, length: int, name: str) -> tuple[str, tuple[int, int], int]:
    """Data type, `(height, width)` and offset of the values in a file that starts with `start`."""
    remedy = 'Remove it and generate it again'
    header = HEADER.match(start)
    if header is None:
        raise InputError(f"log-scale map '{name}': expected floats of shape (H, W, 3) saved by numpy.save. {remedy}")
    dtype, height, width = header[1].decode(), int(header[2]), int(header[3])
    expected = header.end() + height * width * 3 * np.dtype(dtype).itemsize
    if length != expected:
        raise InputError(f"cannot read log-scale map '{name}': got {length} bytes, expected {expected}. {remedy}")
    return dtype, (height, width), header.end()


def check_generated_scale(folder: Path, scale: int) -> None:
    """Raise an InputError if a folder contains a `generation.json` that is invalid or has another scale."""
    description = read_description(folder)
    if description is not None and description['scale'] != scale:
        raise InputError(
            f"generated set '{folder}': got scale {description['scale']}, expected {scale}. Generate it with a DSN of"
            ' that scale'
        )


def read_description(folder: Path) -> dict[str, Any] | None:
    """Read `generation.json`, with an InputError if it is invalid. Return None if it does not exist."""
    path = folder / DESCRIPTION
    if not path.is_file():
        return None
    try:
        description = json.loads(path.read_text())
    except ValueError as error:
        raise InputError(f"'{path}' is not JSON ({error}). Generate the set again") from error
    if not isinstance(description, dict) or not isinstance(description.get('scale'), int):
        raise InputError(f"'{path}' contains no scale. Generate the set again")
    return description


def write_description(folder: Path, description: dict[str, Any]) -> None:
    """Write `generation.json` atomically."""
    write_text(folder / DESCRIPTION, json.dumps(description, indent=2) + '\n')
