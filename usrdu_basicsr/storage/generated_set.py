"""Generated set on disk: `lr/NAME.png`, `log_scale/NAME.npy` and `generation.json`."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from usrdu_basicsr.storage.npy_file import HEADER_BYTES, decode_array, parse_header
from usrdu_basicsr.utils.errors import InputError
from usrdu_basicsr.utils.files import atomic_write, check_file, read_bytes, write_text

LR_FOLDER = 'lr'
LOG_SCALE_FOLDER = 'log_scale'
DESCRIPTION = 'generation.json'


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
    with _named_errors(name):
        log_scale = decode_array(content)
        _check(log_scale.dtype, log_scale.shape)
        if not np.isfinite(log_scale).all():
            raise ValueError('got non-finite values')
    return log_scale


def read_log_scale(path: Path) -> np.ndarray:
    """Read a log-scale map; result and errors are those of `decode_log_scale`, also for a missing file."""
    return decode_log_scale(read_bytes(path), str(path))


def log_scale_size(path: Path) -> tuple[int, int]:
    """Read `(height, width)` from the header of a log-scale map, with an InputError if it is missing or corrupt."""
    check_file(path)
    with _named_errors(str(path)), open(path, 'rb') as file:
        header = parse_header(file.read(HEADER_BYTES), path.stat().st_size)
        _check(header.dtype, header.shape)
        return header.shape[0], header.shape[1]


def _check(dtype: np.dtype, shape: tuple[int, ...]) -> None:
    if dtype.kind != 'f' or len(shape) != 3 or shape[2] != 3:
        raise ValueError(f'got {dtype} of shape {shape}, expected floats of shape (H, W, 3)')


@contextmanager
def _named_errors(name: str) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read log-scale map '{name}' ({error}). Remove it and generate it again") from error


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


def generated_noise(folder: Path) -> dict[str, Any] | None:
    """Read how the noise of a set by a calibrated DSN is sampled; None for other sets and folders.

    Returns:
        `taps` and `mix`, matrices as lists, and `jpeg`, probabilities by quality; see `archs.camera_noise`.

    Raises:
        InputError: If `generation.json` is invalid.
    """
    noise = (read_description(folder) or {}).get('noise')
    if noise is None:
        return None
    try:
        taps, mix = (np.array(noise[key], np.float64) for key in ('taps', 'mix'))
        jpeg = {int(quality): float(probability) for quality, probability in noise['jpeg'].items()}
        values = np.array([*taps.flat, *mix.flat, *jpeg.values()])
        valid = taps.shape == (7, 7) and mix.shape == (3, 3) and np.isfinite(values).all()
        valid = valid and len(jpeg) > 0 and min(jpeg) >= 0 and max(jpeg) <= 100 and min(jpeg.values()) >= 0
    except (AttributeError, KeyError, TypeError, ValueError):
        valid = False
    if not valid:
        raise InputError(f"'{folder / DESCRIPTION}': got an invalid noise. Generate the set again")
    return noise


def write_description(folder: Path, description: dict[str, Any]) -> None:
    """Write `generation.json` atomically."""
    write_text(folder / DESCRIPTION, json.dumps(description, indent=2) + '\n')
