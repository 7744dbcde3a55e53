"""Tables of the study: CSV with a row per image and per cell, and Markdown with those of docs/results.md."""

import csv
import io
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import spearmanr

from study_cell import Cell
from usrdu_basicsr.ops.bootstrap import Interval, mean_interval, paired_interval
from usrdu_basicsr.utils.files import write_text

METRICS = {'psnr': '{:.2f}', 'ssim': '{:.3f}', 'lpips': '{:.3f}'}
TITLES = {'psnr': 'PSNR in dB', 'ssim': 'SSIM', 'lpips': 'LPIPS, lower is better'}
PSNR, LPIPS = 0, 2
MIN_METHODS = 10  # of a camera, for a correlation
BASELINE, UPPER_BOUND, UPSCALING = 'bicubic', 'true_camera', 'bicubic upscaling'
MEASURED, OTHERS = 'measured', (BASELINE, 'real_esrgan')  # compared with intervals
Results = dict[Cell, dict[str, Any]]
Table = dict[tuple[str, str], np.ndarray]  # `(seeds, images, metrics)` by camera and method
Rows = Sequence[dict[str, Any]]


def write_tables(root: Path, results: Results, table: Table) -> str:
    """Write `images.csv`, `cells.csv` and `results.md`, and return the text of the latter."""
    names = {cell: {'camera': cell.camera, 'method': cell.method, 'seed': cell.seed} for cell in results}
    per_cell = [names[cell] | result['fidelity'] for cell, result in results.items()]
    per_image = [
        names[cell] | {'image': image} | values
        for cell, result in results.items()
        for image, values in result['images'].items()
    ]
    for name, rows in (('images', per_image), ('cells', per_cell)):
        write_text(root / f'{name}.csv', _csv(rows))
    text = '\n\n'.join(
        (
            *_by_metric(results, table),
            _fidelity(per_cell),
            _gains(table),
            _summary(table),
            *_score_correlations(table, per_cell),
        )
    )
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


def _csv(rows: Rows) -> str:
    file = io.StringIO()
    writer = csv.DictWriter(file, list(dict.fromkeys(key for row in rows for key in row)), lineterminator='\n')
    writer.writeheader()
    writer.writerows(rows)
    return file.getvalue()


def _by_metric(results: Results, table: Table) -> Iterator[str]:
    """Tables of the metrics with a row per camera and a column per method, of which the best is bold."""
    images = {cell.camera: result['images'].values() for cell, result in results.items()}
    for index, (metric, number) in enumerate(METRICS.items()):
        texts = {}
        for camera in _cameras(table):
            of_camera = {UPSCALING: np.mean([image[f'bicubic_{metric}'] for image in images[camera]])}
            of_camera |= {method: values[..., index].mean() for (c, method), values in table.items() if c == camera}
            best = (min if index == LPIPS else max)(v for method, v in of_camera.items() if method != UPPER_BOUND)
            for method, value in of_camera.items():
                text = number.format(value)
                texts[camera, method] = f'**{text}**' if value == best and method != UPPER_BOUND else text
        yield f'{TITLES[metric]}, {_seeds(table)}\n\n{_pivot(texts)}'


def _seeds(table: Table) -> str:
    counts = sorted({len(values) for values in table.values()})
    return f'{counts[0]} to {counts[-1]} seeds' if len(counts) > 1 else f'seeds: {counts[0]}'


def _fidelity(per_cell: Rows) -> str:
    """Table of the fidelity scores of the LR images that were trained on."""
    scores: dict[tuple[str, str], list[float]] = {}
    for row in per_cell:
        scores.setdefault((row['camera'], row['method']), []).append(row['score'])
    return f'Fidelity score\n\n{_pivot({key: f"{np.mean(values):.0f}" for key, values in scores.items()})}'


def _pivot(texts: dict[tuple[str, str], str]) -> str:
    """Table with a row per camera and a column per method."""
    methods = list(dict.fromkeys(method for _, method in texts))
    rows = [[texts.get((camera, method), '') for method in methods] for camera in _cameras(texts)]
    heads = [method if method == UPSCALING else f'`{method}`' for method in methods]
    return _markdown(['camera', *heads], [[f'`{c}`', *row] for c, row in zip(_cameras(texts), rows, strict=True)])


def _gains(table: Table) -> str:
    """Table of the gains of the measured camera with 95 % intervals, and the share of the gap to the upper bound."""
    heads = [f'over `{other}`: {text}' for other in OTHERS for text in ('PSNR, dB', 'LPIPS')]
    rows = []
    for camera in _cameras(table):
        if {(camera, method) for method in (MEASURED, UPPER_BOUND, *OTHERS)} <= table.keys():
            values = table[camera, MEASURED]
            gains = [
                _interval(paired_interval(values[..., index], table[camera, other][..., index]), digits)
                for other in OTHERS
                for index, digits in ((PSNR, 2), (LPIPS, 3))
            ]
            share = gap_closed(values, table[camera, BASELINE], table[camera, UPPER_BOUND])
            rows.append([f'`{camera}`', *gains, f'{share:.0%}'])
    return f'Gains of `{MEASURED}` with 95 % intervals\n\n{_markdown(["camera", *heads, "gap closed"], rows)}'


def _summary(table: Table) -> str:
    """Table of the means over the cameras that have the baseline and the upper bound, with a row per method."""
    heads = ['cameras', 'mean gain, dB', 'better in PSNR', 'better in LPIPS', 'mean difference of LPIPS', 'gap closed']
    rows = []
    for method in dict.fromkeys(method for _, method in table if method != BASELINE):
        cameras = [c for c in _cameras(table) if {(c, method), (c, BASELINE), (c, UPPER_BOUND)} <= table.keys()]
        if not cameras:
            continue
        pairs = [(table[camera, method], table[camera, BASELINE]) for camera in cameras]
        psnr, lpips = (
            mean_interval([(values[..., index], other[..., index]) for values, other in pairs])
            for index in (PSNR, LPIPS)
        )
        differences = np.array([values.mean((0, 1)) - other.mean((0, 1)) for values, other in pairs])
        wins = (differences[:, PSNR] > 0).sum(), (differences[:, LPIPS] < 0).sum()
        shares = [gap_closed(*pair, table[camera, UPPER_BOUND]) for camera, pair in zip(cameras, pairs, strict=True)]
        numbers = [
            str(len(cameras)),
            _interval(psnr, 2),
            *map(str, wins),
            _interval(lpips, 3),
            f'{np.mean(shares):.0%}',
        ]
        rows.append([f'`{method}`', *numbers])
    return f'All cameras, compared with `{BASELINE}`\n\n{_markdown(["method", *heads], rows)}'


def _interval(interval: Interval, digits: int) -> str:
    mean, low, high = (f'{value:+.{digits}f}' for value in interval)
    return f'{mean} ({low} to {high})'


def _markdown(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [f'| {" | ".join(row)} |' for row in (heads, *rows)]
    return '\n'.join((lines[0], '|' + '---|' * len(heads), *lines[1:]))


def _cameras(keys: Table | dict[tuple[str, str], str]) -> list[str]:
    return list(dict.fromkeys(camera for camera, _ in keys))


def _score_correlations(table: Table, per_cell: Rows) -> Iterator[str]:
    """Sentence per camera with many methods: does the score of the LR images predict the result?"""
    for camera in _cameras(table):
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
    method, lower, upper = (float(each[..., PSNR].mean()) for each in (values, baseline, upper_bound))
    return (method - lower) / (upper - lower)
