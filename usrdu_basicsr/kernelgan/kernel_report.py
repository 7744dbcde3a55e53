"""What is told of estimated kernels: a record of each, and all of them in a file of JSON lines and in a picture."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from usrdu_basicsr.kernelgan.kernel_files import read_x2_kernel
from usrdu_basicsr.kernelgan.postprocess import has_collapsed, kernel_error, post_process
from usrdu_basicsr.ops.kernels import centre_of_mass
from usrdu_basicsr.utils.errors import InputError
from usrdu_basicsr.utils.files import write_text
from usrdu_basicsr.utils.images import to_8bit, write_png

RECORDS = 'records'
LINES = 'kernels.jsonl'
SHEET = 'kernels.png'
CELL = 72  # pixels of a kernel in the picture
LABEL = 14  # pixels of its name


def kernel_record(raw: np.ndarray, kernel: np.ndarray, losses: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """What is told of a photo's kernel.

    Args:
        raw: What its runs ended with, `(runs, 13, 13)`; at least one has not collapsed.
        kernel: What they agree on.
        losses: Unweighted losses of the runs.

    Returns:
        `collapsed`, how many runs did. Of the others, before post-processing, in the mean: `losses`, `sum`, and
        `centre_of_mass`, row and column against the middle of the 2x2 pixels that become one. Of the kernel: `spread`,
        its standard deviation along its narrowest and its widest axis, and `disagreement`, the mean distance of the
        runs from it, relative to its norm. Lengths in pixels.
    """
    usable = [run for run in range(len(raw)) if not has_collapsed(raw[run])]
    offset = (centre_of_mass(torch.from_numpy(raw[usable]).double()) - (raw.shape[1] // 2 + 0.5)).mean(0)
    variances = np.linalg.eigvalsh(
        np.cov(np.indices(kernel.shape).reshape(2, -1), aweights=kernel.clip(0).ravel(), ddof=0)
    )
    return {
        'collapsed': len(raw) - len(usable),
        'losses': {name: round(float(values[usable].mean()), 6) for name, values in losses.items()},
        'sum': round(float(raw[usable].sum((1, 2)).mean()), 4),
        'centre_of_mass': [round(value, 4) for value in offset.tolist()],
        'spread': [round(float(variance) ** 0.5, 4) for variance in variances.clip(0)],
        'disagreement': round(float(np.mean([kernel_error(post_process(raw[run]), kernel) for run in usable])), 4),
    }


def write_record(output: Path, photo: Path, record: Mapping[str, Any]) -> None:
    """Write a photo's record, last of its files: with it, they are all there."""
    text = json.dumps({**_identity(photo), **record}) + '\n'
    write_text(_record_path(output, photo.stem), text)


def remove_record(output: Path, photo: Path) -> None:
    """Remove a photo's record, if any, before its other files change."""
    _record_path(output, photo.stem).unlink(missing_ok=True)


def is_recorded(output: Path, photo: Path, settings: Mapping[str, Any]) -> bool:
    """Whether there is a record of this very photo, made with these settings and not older than the photo."""
    path = _record_path(output, photo.stem)
    if not path.is_file() or path.stat().st_mtime < photo.stat().st_mtime:
        return False
    try:
        record = json.loads(path.read_text())
    except ValueError:
        return False
    return isinstance(record, dict) and {**_identity(photo), **settings}.items() <= record.items()


def write_summary(output: Path) -> None:
    """Write `kernels.jsonl`, a line a kernel, and `kernels.png`, all of them on one sheet, by name.

    Several processes may call this at the same time, each after its last kernel: the one that ends last finds all.
    """
    written = None
    while written != (lines := _records(output)):
        write_text(output / LINES, ''.join(lines.values()))
        if kernels := _x2_kernels(output, list(lines)):
            write_png(output / SHEET, contact_sheet(kernels))
        written = lines


def contact_sheet(kernels: Mapping[str, np.ndarray], columns: int | None = None) -> np.ndarray:
    """A picture of kernels with their names, each as bright as its largest tap allows.

    Args:
        kernels: `(n, n)` each, n odd, by name.
        columns: Kernels in a row; if None, as many as make it about square.

    Returns:
        `(H, W, 3)` uint8, BGR.
    """
    columns = columns or math.isqrt(len(kernels) - 1) + 1
    rows = -(-len(kernels) // columns)
    sheet = np.zeros((rows * (CELL + LABEL), columns * CELL, 3), np.uint8)
    taps = max(len(kernel) for kernel in kernels.values())
    for i, (name, kernel) in enumerate(kernels.items()):
        top, left = i // columns * (CELL + LABEL), i % columns * CELL
        picture = np.pad(kernel / kernel.max(), (taps - len(kernel)) // 2)
        picture = cv2.resize(picture, (CELL - 2, CELL - 2), interpolation=cv2.INTER_NEAREST)
        sheet[top : top + CELL - 2, left : left + CELL - 2] = cv2.applyColorMap(to_8bit(picture), cv2.COLORMAP_INFERNO)
        at = (left + 2, top + CELL + LABEL - 5)
        cv2.putText(sheet, name[-11:], at, cv2.FONT_HERSHEY_SIMPLEX, 0.32, (255, 255, 255), 1, cv2.LINE_AA)
    return sheet


def _record_path(output: Path, stem: str) -> Path:
    return output / RECORDS / f'{stem}.json'


def _identity(photo: Path) -> dict[str, Any]:
    return {'name': photo.name, 'bytes': photo.stat().st_size}


def _records(output: Path) -> dict[str, str]:
    """All records by stem; another process may be replacing some."""
    records = {}
    for path in sorted((output / RECORDS).glob('*.json')):
        with suppress(FileNotFoundError):
            records[path.stem] = path.read_text()
    return records


def _x2_kernels(output: Path, stems: list[str]) -> dict[str, np.ndarray]:
    """The kernels that are there still."""
    kernels = {}
    for stem in stems:
        with suppress(InputError):
            kernels[stem] = read_x2_kernel(output, stem)
    return kernels
