"""Tables of the study: CSV with a row per image, and Markdown with a row per camera and method."""

import csv
import io
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import spearmanr

from study_cell import Cell
from usrdu_basicsr.ops.bootstrap import paired_interval
from usrdu_basicsr.utils.files import write_text

METRICS = ('psnr', 'ssim', 'lpips')
MIN_METHODS = 10  # of a camera, for a correlation
BASELINE, UPPER_BOUND = 'bicubic', 'true_camera'
Results = dict[Cell, dict[str, Any]]
Table = dict[tuple[str, str], np.ndarray]  # `(seeds, images, metrics)` by camera and method


def write_tables(root: Path, results: Results, table: Table) -> str:
    """Write `images.csv`, `cells.csv` and `results.md`, and return the text of the latter."""
    per_image = [
        {'camera': cell.camera, 'method': cell.method, 'seed': cell.seed, 'image': image, **values}
        for cell, result in results.items()
        for image, values in result['images'].items()
    ]
    per_cell = [
        {'camera': cell.camera, 'method': cell.method, 'seed': cell.seed, **result['fidelity']}
        for cell, result in results.items()
    ]
    for name, rows in (('images', per_image), ('cells', per_cell)):
        write_text(root / f'{name}.csv', _csv(rows))
    text = '\n\n'.join((_by_camera(table, per_cell), _summary(table), *_score_correlations(table, per_cell)))
    write_text(root / 'results.md', text + '\n')
    return text


def read_results(cells: Sequence[Cell]) -> Results:
    """Results of the finished cells."""
    return {cell: json.loads(cell.result.read_text()) for cell in cells if cell.result.exists()}


def metrics_table(results: Results) -> Table:
    """Metrics of the results by camera and method."""
    table: Table = {}
    for camera, method in dict.fromkeys((cell.camera, cell.method) for cell in results):
        seeds = [r['images'].values() for c, r in results.items() if (c.camera, c.method) == (camera, method)]
        table[camera, method] = np.array([[[values[m] for m in METRICS] for values in images] for images in seeds])
    return table


def _csv(rows: Sequence[dict[str, Any]]) -> str:
    file = io.StringIO()
    writer = csv.DictWriter(file, list(dict.fromkeys(key for row in rows for key in row)), lineterminator='\n')
    writer.writeheader()
    writer.writerows(rows)
    return file.getvalue()


def _by_camera(table: Table, per_cell: Sequence[dict[str, Any]]) -> str:
    """Row per camera and method: metrics, gain over the baseline with its interval, share of the gap, fidelity."""
    lines = [
        '| camera | method | seeds | PSNR, dB | SSIM | LPIPS | gain, dB (95 %) | gap closed | fidelity score |',
        '|---|---|---|---|---|---|---|---|---|',
    ]
    for (camera, method), values in table.items():
        psnr, ssim, lpips = values.mean((0, 1))
        score = np.mean([c['score'] for c in per_cell if (c['camera'], c['method']) == (camera, method)])
        gain, share = '', ''
        if (camera, BASELINE) in table:
            baseline = table[camera, BASELINE]
            mean, low, high = paired_interval(values[..., 0], baseline[..., 0])
            gain = f'{mean:+.2f} ({low:+.2f} to {high:+.2f})'
            if (camera, UPPER_BOUND) in table:
                share = f'{gap_closed(values, baseline, table[camera, UPPER_BOUND]):.0%}'
        lines.append(
            f'| `{camera}` | `{method}` | {len(values)} | {psnr:.2f} | {ssim:.3f} | {lpips:.3f} | {gain} | {share}'
            f' | {score:.0f} |'
        )
    return '\n'.join(lines)


def _summary(table: Table) -> str:
    """Row per method: means over the cameras that have the baseline and the upper bound."""
    lines = [
        '| method | cameras | mean gain, dB | better in PSNR | better in LPIPS | mean LPIPS gain | mean gap closed |',
        '|---|---|---|---|---|---|---|',
    ]
    for method in dict.fromkeys(method for _, method in table):
        gains, shares = [], []
        for camera in dict.fromkeys(camera for camera, other in table if other == method):
            if {(camera, BASELINE), (camera, UPPER_BOUND)} <= table.keys():
                values, baseline = table[camera, method], table[camera, BASELINE]
                gains.append(values.mean((0, 1)) - baseline.mean((0, 1)))
                shares.append(gap_closed(values, baseline, table[camera, UPPER_BOUND]))
        if gains:
            psnr, _, lpips = np.array(gains).T
            lines.append(
                f'| `{method}` | {len(gains)} | {psnr.mean():+.2f} | {(psnr > 0).sum()} | {(lpips < 0).sum()}'
                f' | {lpips.mean():+.3f} | {np.mean(shares):.0%} |'
            )
    return '\n'.join(lines)


def _score_correlations(table: Table, per_cell: Sequence[dict[str, Any]]) -> Iterator[str]:
    """Sentence per camera with many methods: does the score of the LR images predict the result?"""
    for camera in dict.fromkeys(camera for camera, _ in table):
        methods = [method for other, method in table if other == camera]
        if len(methods) < MIN_METHODS:
            continue
        psnr, _, lpips = np.array([table[camera, method].mean((0, 1)) for method in methods]).T
        score = [np.mean([c['score'] for c in per_cell if (c['camera'], c['method']) == (camera, m)]) for m in methods]
        of_psnr, of_lpips = (spearmanr(score, metric).statistic for metric in (psnr, -lpips))
        yield (
            f'Spearman correlation of the score of {len(methods)} methods on `{camera}`: {of_psnr:.2f} with the PSNR,'
            f' {of_lpips:.2f} with the LPIPS (lower is better)'
        )


def gap_closed(values: np.ndarray, baseline: np.ndarray, upper_bound: np.ndarray) -> float:
    """Share of the PSNR gap between the baseline and the upper bound that a method closes."""
    method, lower, upper = (float(each[..., 0].mean()) for each in (values, baseline, upper_bound))
    return (method - lower) / (upper - lower)
