"""A generated set on disk: `lr/NAME.png`, `log_scale/NAME.npy` and `generation.json`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from usrdu_basicsr.errors import InputError, InputNotFoundError
from usrdu_basicsr.files import write_text, write_whole

LR_FOLDER = 'lr'
LOG_SCALE_FOLDER = 'log_scale'
DESCRIPTION = 'generation.json'


def write_log_scale(path: Path, log_scale: np.ndarray) -> None:
    """Write `(H, W, 3)` RGB log-scales as float16, whole or not at all."""
    write_whole(path, lambda file: np.save(file, log_scale.astype(np.float16)))


def read_log_scale(path: Path) -> np.ndarray:
    """Read a map of log-scales `(H, W, 3)`, RGB, as stored (float16).

    Raises:
        InputError: The file is missing, damaged or of another shape.
    """
    return np.array(_open_log_scale(path))


def log_scale_shape(path: Path) -> tuple[int, ...]:
    """The shape of a map of log-scales, without reading it; the file's length is checked.

    Raises:
        InputError: As `read_log_scale`.
    """
    return _open_log_scale(path).shape


def _open_log_scale(path: Path) -> np.ndarray:
    try:
        log_scale = np.load(path, mmap_mode='r', allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"cannot read log-scales '{path}': remove the file and generate it again ({error})") from error
    if not isinstance(log_scale, np.ndarray) or log_scale.ndim != 3 or log_scale.shape[2] != 3:
        raise InputError(f"log-scales '{path}' are not of shape (H, W, 3): remove the file and generate it again")
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


def log_scale_path(folder: str | Path, lq_path: Path) -> Path:
    """The log-scales that belong to a generated LR image.

    Raises:
        InputNotFoundError: There are none.
    """
    path = Path(folder).expanduser() / f'{lq_path.stem}.npy'
    if not path.is_file():
        raise InputNotFoundError(f"no log-scales '{path}' for '{lq_path}': run scripts/generate_lr.py again")
    return path
