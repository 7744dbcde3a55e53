"""A generated set on disk: `lr/NAME.png`, `log_scale/NAME.npy` and `generation.json`."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np

from usrdu_basicsr.errors import InputError
from usrdu_basicsr.files import write_text, write_whole

LR_FOLDER = 'lr'
LOG_SCALE_FOLDER = 'log_scale'
DESCRIPTION = 'generation.json'


def write_log_scale(path: Path, log_scale: np.ndarray) -> None:
    """Write `(H, W, 3)` RGB log-scales as float16, whole or not at all."""
    write_whole(path, lambda file: np.save(file, log_scale.astype(np.float16)))


def decode_log_scale(content: bytes | memoryview, name: str) -> np.ndarray:
    """The map of log-scales in the bytes of a file.

    Args:
        content: The bytes.
        name: Of the map, for messages.

    Returns:
        `(H, W, 3)` as stored (float16), RGB.

    Raises:
        InputError: It is damaged or of another shape.
    """
    return _load(io.BytesIO(content), name)


def log_scale_size(path: Path) -> tuple[int, int]:
    """(height, width) of a map of log-scales, without reading it; the file's length is checked.

    Raises:
        InputError: It is missing, damaged or of another shape.
    """
    height, width, _ = _load(path, str(path), mmap_mode='r').shape
    return height, width


def _load(file: Path | BinaryIO, name: str, mmap_mode: Literal['r'] | None = None) -> np.ndarray:
    try:
        log_scale = np.load(file, mmap_mode, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"cannot read log-scales '{name}': remove them and generate them again ({error})") from error
    if not isinstance(log_scale, np.ndarray) or log_scale.ndim != 3 or log_scale.shape[2] != 3:
        raise InputError(f"log-scales '{name}' are not of shape (H, W, 3): remove them and generate them again")
    return log_scale


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
