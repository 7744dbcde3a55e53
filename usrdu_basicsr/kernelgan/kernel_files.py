"""Files of estimated kernels: the kernels, one record per kernel, and a summary.

* `x2/NAME.npy` and `x2/NAME.mat`: x2 kernel of an image.
* `x4/NAME.npy` and `x4/NAME.mat`: x4 kernel computed from the x2 kernel, for scale 4.
* `records/NAME.json`: statistics and settings. It is written last, so a record implies complete kernel files.
* `kernels.jsonl` and `kernels.png`: all records, and a contact sheet of all kernels.
"""

import json
import math
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from scipy.ndimage import center_of_mass

from usrdu_basicsr.data.kernel_set import EXTENSIONS, read_kernel, write_kernel
from usrdu_basicsr.kernelgan.constraints import CENTRE
from usrdu_basicsr.kernelgan.postprocess import axis_spreads, has_collapsed, kernel_error, post_process, x2_to_x4_kernel
from usrdu_basicsr.utils.errors import InputError
from usrdu_basicsr.utils.files import write_text
from usrdu_basicsr.utils.images import to_8bit, write_png

CELL = 72  # side of a kernel in the contact sheet, pixels
LABEL = 14  # height of its name, pixels


def write_results(output: Path, image: Path, kernel: np.ndarray, record: Mapping[str, Any], scale: int) -> None:
    """Write the x2 kernel of an image, for scale 4 also the x4 kernel, then the record."""
    _write_kernels(output, image.stem, kernel, scale)
    write_text(_record_path(output, image), json.dumps({'name': image.name, **record}) + '\n')


def recorded_values(output: Path, image: Path, names: Iterable[str]) -> dict[str, Any]:
    """Items with these names of the record of an image; none without a valid record."""
    try:
        record = json.loads(_record_path(output, image).read_text())
        return {name: record[name] for name in names}
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return {}


def restore_results(output: Path, image: Path, expected: Mapping[str, Any], scale: int) -> bool:
    """Check the results of an image, and rewrite the other kernel files if they do not match the x2 kernel.

    Args:
        output: Folder of the kernels.
        image: Image file.
        expected: Items of the record that determine the kernel: identity of the image file, and settings.
        scale: 2, or 4 for x4 kernels as well.

    Returns:
        Whether the x2 kernel is valid, and its record has the expected items. Otherwise nothing is rewritten.
    """
    path = _record_path(output, image)
    if not path.is_file():
        return False
    try:
        record = json.loads(path.read_text())
        if not isinstance(record, dict) or not {'name': image.name, **expected}.items() <= record.items():
            return False
        _write_kernels(output, image.stem, read_kernel(output / 'x2' / f'{image.stem}.npy'), scale)
    except ValueError:  # invalid JSON, or InputError of an invalid kernel
        return False
    return True


def _write_kernels(output: Path, stem: str, kernel: np.ndarray, scale: int) -> None:
    """Write the kernels of an image. Files that already match are left unchanged."""
    kernels = {'x2': kernel, 'x4': x2_to_x4_kernel(kernel)} if scale == 4 else {'x2': kernel}
    for folder, expected in kernels.items():
        if not _is_written(output / folder, stem, expected):
            write_kernel(output / folder, stem, expected)


def _is_written(folder: Path, stem: str, expected: np.ndarray) -> bool:
    """Whether the files of both formats contain a kernel."""
    try:
        kernels = [read_kernel(folder / f'{stem}{extension}') for extension in EXTENSIONS]
    except InputError:
        return False
    return all(kernel.shape == expected.shape and np.allclose(kernel, expected) for kernel in kernels)


def kernel_record(raw: np.ndarray, kernel: np.ndarray, losses: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Statistics of an estimated kernel.

    Args:
        raw: Kernels of the runs on one image, `(runs, 13, 13)`; at least one has not collapsed.
        kernel: Consensus of the runs.
        losses: Unweighted losses of the runs.

    Returns:
        `collapsed`: number of collapsed runs. Means over the other runs before post-processing: `losses`, `sum` and
        `centre_of_mass`, (row, column) relative to the middle of the 2x2 pixels that become one. `spread`: standard
        deviations of the kernel along its narrowest and widest axes. `disagreement`: mean distance of the runs from the
        kernel, relative to its norm. Lengths are in pixels.
    """
    valid = [run for run in range(len(raw)) if not has_collapsed(raw[run])]
    centre = np.mean([center_of_mass(raw[run].astype(np.float64)) for run in valid], axis=0)
    return {
        'collapsed': len(raw) - len(valid),
        'losses': {name: round(float(values[valid].mean()), 6) for name, values in losses.items()},
        'sum': round(float(raw[valid].sum((1, 2)).mean()), 4),
        'centre_of_mass': [round(value, 4) for value in (centre - CENTRE).tolist()],
        'spread': [round(value, 4) for value in axis_spreads(kernel.clip(0)).tolist()],
        'disagreement': round(float(np.mean([kernel_error(post_process(raw[run]), kernel) for run in valid])), 4),
    }


def remove_results(output: Path, image: Path) -> None:
    """Remove the record of an image, then its kernels of both scales."""
    _record_path(output, image).unlink(missing_ok=True)
    for folder in ('x2', 'x4'):
        for extension in EXTENSIONS:
            (output / folder / f'{image.stem}{extension}').unlink(missing_ok=True)


def write_summary(output: Path) -> None:
    """Write `kernels.jsonl` with one line per kernel and `kernels.png` with all kernels, sorted by name.

    Several processes may call this at the same time, each after its last kernel. The last one covers all kernels.
    """
    written = None
    while written != (records := _read_records(output)):
        write_text(output / 'kernels.jsonl', ''.join(records.values()))
        kernels = {}
        for stem in records:
            with suppress(InputError):  # another process may be replacing it
                kernels[stem] = read_kernel(output / 'x2' / f'{stem}.npy')
        if kernels:
            write_png(output / 'kernels.png', contact_sheet(kernels))
        else:
            (output / 'kernels.png').unlink(missing_ok=True)
        written = records


def contact_sheet(kernels: Mapping[str, np.ndarray], columns: int | None = None) -> np.ndarray:
    """Image of kernels with their names; the largest tap of each kernel has full brightness.

    Args:
        kernels: Kernels `(n, n)` with odd n by name.
        columns: Kernels per row; None for a roughly square sheet.

    Returns:
        `(H, W, 3)` uint8, BGR.
    """
    columns = columns or math.isqrt(len(kernels) - 1) + 1
    rows = -(-len(kernels) // columns)
    sheet = np.zeros((rows * (CELL + LABEL), columns * CELL, 3), np.uint8)
    taps = max(len(kernel) for kernel in kernels.values())
    for i, (name, kernel) in enumerate(kernels.items()):
        top, left = i // columns * (CELL + LABEL), i % columns * CELL
        cell = np.pad(kernel / kernel.max(), (taps - len(kernel)) // 2)
        cell = cv2.resize(cell, (CELL - 2, CELL - 2), interpolation=cv2.INTER_NEAREST)
        sheet[top : top + CELL - 2, left : left + CELL - 2] = cv2.applyColorMap(to_8bit(cell), cv2.COLORMAP_INFERNO)
        origin = (left + 2, top + CELL + LABEL - 5)
        label = name[-11:].encode('ascii', 'replace').decode()  # OpenCV crashes on names that are not UTF-8
        cv2.putText(sheet, label, origin, cv2.FONT_HERSHEY_SIMPLEX, 0.32, (255, 255, 255), 1, cv2.LINE_AA)
    return sheet


def _record_path(output: Path, image: Path) -> Path:
    return output / 'records' / f'{image.stem}.json'


def _read_records(output: Path) -> dict[str, str]:
    """Read all records by stem. Another process may be replacing some of them."""
    records = {}
    for path in sorted((output / 'records').glob('*.json')):
        with suppress(FileNotFoundError):
            records[path.stem] = path.read_text()
    return records
