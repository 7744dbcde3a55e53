"""Plots of the study: gain of each method on each camera, and results by the number of images and of iterations."""

from collections.abc import Callable, Sequence
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np

from study_cell import Cell
from study_table import BASELINE, Table
from usrdu_basicsr.ops.bootstrap import paired_interval
from usrdu_basicsr.utils.files import atomic_write

mpl.use('Agg')
WIDTH = 5  # inches


def write_plots(root: Path, cells: Sequence[Cell], table: Table) -> None:
    """Write `gains.png`, and `images.png` or `iterations.png` if methods differ in these numbers."""
    _gains(root / 'gains.png', table)
    by_method = {cell.method: cell for cell in cells}
    _curves(root / 'images.png', 'camera images', table, by_method, lambda cell: cell.settings.get('camera_images'))
    iterations = lambda cell: cell.iterations['srn'] if 'budget' in cell.settings else None  # noqa: E731
    _curves(root / 'iterations.png', 'iterations of the SR network', table, by_method, iterations)


def _gains(path: Path, table: Table) -> None:
    """Row per camera with the gain of each method over the baseline in PSNR, and its 95 % interval."""
    cameras = [camera for camera, method in table if method == BASELINE]
    methods = [method for method in dict.fromkeys(method for _, method in table) if method != BASELINE]
    if not cameras or not methods:
        return
    figure, axes = plt.subplots(figsize=(1.6 * WIDTH, 1 + 0.18 * len(cameras) * (len(methods) + 1)))
    for number, method in enumerate(methods):
        rows = [row for row, camera in enumerate(cameras) if (camera, method) in table]
        if not rows:
            continue
        pairs = [(table[cameras[row], each][..., 0] for each in (method, BASELINE)) for row in rows]
        gains = [paired_interval(*pair) for pair in pairs]
        mean, low, high = np.array(gains).T
        y = np.array(rows) + (number + 1) / (len(methods) + 1) - 0.5
        axes.errorbar(mean, y, xerr=[mean - low, high - mean], fmt='o', markersize=4, label=method)
    axes.axvline(0, color='black', linewidth=0.8)
    axes.set_yticks(range(len(cameras)), cameras)
    axes.invert_yaxis()
    axes.set_xlabel(f'PSNR gain over {BASELINE}, dB, with 95 % interval')
    axes.grid(axis='x', alpha=0.3)
    axes.legend(loc='center left', bbox_to_anchor=(1, 0.5))
    _save(figure, path)


def _curves(
    path: Path, label: str, table: Table, by_method: dict[str, Cell], number: Callable[[Cell], int | None]
) -> None:
    """PSNR and LPIPS of each camera by a number that the methods differ in."""
    numbers = {method: value for method, cell in by_method.items() if (value := number(cell)) is not None}
    points = {key: values for key, values in table.items() if key[1] in numbers}
    if len(set(numbers.values())) < 2 or not points:
        return
    figure, panels = plt.subplots(1, 2, figsize=(2 * WIDTH, 0.7 * WIDTH))
    for axes, metric, name in zip(panels, (0, 2), ('PSNR, dB', 'LPIPS (lower is better)'), strict=True):
        for camera in dict.fromkeys(camera for camera, _ in points):
            values = {numbers[m]: each[..., metric].mean() for (c, m), each in points.items() if c == camera}
            axes.plot(*zip(*sorted(values.items()), strict=True), 'o-', label=camera)
        axes.set_xscale('log')
        ticks = sorted(set(numbers.values()))
        axes.set_xticks(ticks, [f'{tick:,}' for tick in ticks])
        axes.minorticks_off()
        axes.set_xlabel(label)
        axes.set_ylabel(name)
        axes.grid(alpha=0.3)
    panels[0].legend()
    _save(figure, path)


def _save(figure: plt.Figure, path: Path) -> None:
    figure.tight_layout()
    atomic_write(path, lambda file: figure.savefig(file, format='png', dpi=100, bbox_inches='tight'))
    plt.close(figure)
