"""Tables of a GPU report (gpu.json of gpu_report.py) in docs/benchmarks.md."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from usrdu_basicsr.utils.errors import InputError
from usrdu_basicsr.utils.files import write_text

BEGIN, END = '<!-- gpu tables: begin -->', '<!-- gpu tables: end -->'
NOT_MEASURED = 'The command has not completed on a GPU yet. It replaces this sentence by tables.'
COMPILED = 'bf16, channels last, compiled'
TRAINING_TARGET = 3  # times the steps of fp32, of compiled networks in bf16 and channels last
KERNELGAN_TARGET = 10_000  # images per hour, one run per image


def update_page(page: Path, report: dict[str, Any] | None) -> None:
    """Replace the text between the markers of a page.

    Args:
        page: Markdown page.
        report: Content of gpu.json, or None without a report.

    Raises:
        InputError: If the page lacks the markers.
    """
    text = page.read_text()
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise InputError(f"page '{page}': got no markers, expected {BEGIN} and {END}. Add them")
    write_text(page, f'{before}{begin}\n{tables(report)}\n{end}{after}')


def tables(report: dict[str, Any] | None) -> str:
    """Markdown of a report."""
    if report is None:
        return NOT_MEASURED
    parts = {name: part['figures'] for name, part in report['parts'].items()}
    sections = [
        _machine(report),
        _table(('part', 'result', 's'), _results(report['parts'])),
        _table(('target', 'measured', 'met'), _targets(parts)),
        *_training(parts.get('training', {})),
        _table(('inference', 's', 'speed-up', 'MB', 'PSNR, dB'), _inference(parts.get('inference', {}))),
        _table(('KernelGAN', 'ms per iteration and image', 'images per hour', 'speed-up'), _kernelgan(parts)),
        _table(('demo', 'PSNR, dB', 'SSIM'), _demo(parts.get('demo', {}))),
    ]
    return '\n\n'.join(filter(None, sections))


def _table(header: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    """Markdown table, empty without rows."""
    header = list(header)
    lines = [f'| {" | ".join(map(str, row))} |' for row in rows]
    return '\n'.join([f'| {" | ".join(header)} |', '|' + '---|' * len(header), *lines]) if lines else ''


def _machine(report: dict[str, Any]) -> str:
    machine = report['machine']
    details = [f'{key} {value}' for key, value in machine.items() if key != 'device']
    return f'**{machine["device"]}**, measured in {report["seconds"]:.0f} s ({", ".join(details)}):'


def _results(parts: dict[str, Any]) -> Iterator[tuple[object, ...]]:
    for name, part in parts.items():
        result = part['result']
        if name == 'tests' and part['figures']:
            counts = (f'{part["figures"][outcome]} {outcome}' for outcome in ('passed', 'failed', 'skipped'))
            result = f'{result} ({", ".join(counts)})'
        yield name, result, f'{part["seconds"]:.0f}'


def _targets(parts: dict[str, Any]) -> Iterator[tuple[object, ...]]:
    for title, variants in _measurements(parts.get('training', {})):
        if {'fp32', COMPILED} <= variants.keys():
            gain = variants['fp32']['seconds'] / variants[COMPILED]['seconds']
            target = f'{title}: {COMPILED}, at least {TRAINING_TARGET} times as fast as fp32'
            yield target, f'{gain:.2f}×', _yes(gain >= TRAINING_TARGET)
    if variants := parts.get('kernelgan', {}).get('variants'):
        hourly = max(variant['images_per_hour'] for variant in variants.values())
        target = f'KernelGAN: at least {KERNELGAN_TARGET} images per hour, one run per image'
        yield target, f'{hourly:.0f}', _yes(hourly >= KERNELGAN_TARGET)


def _yes(is_met: bool) -> str:
    return 'yes' if is_met else 'no'


def _measurements(training: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Titles and variants of the training benchmark, without its description of the machine."""
    yield from ((title, variants) for title, variants in training.items() if isinstance(variants, dict))


def _training(training: dict[str, Any]) -> Iterator[str]:
    for title, variants in _measurements(training):
        first = next(iter(variants.values()))['seconds']
        rows = (
            (name, _seconds(values), f'{first / values["seconds"]:.2f}×', _mb(values))
            for name, values in variants.items()
        )
        yield _table((title, 's', 'speed-up', 'MB'), rows)


def _inference(figures: dict[str, Any]) -> Iterator[tuple[object, ...]]:
    rows = figures.get('variants', ())
    for row in rows:
        psnr = '' if row['psnr'] is None else f'{row["psnr"]:.1f}'
        speed_up = f'{rows[0]["seconds"] / row["seconds"]:.2f}×'
        yield f'{"×".join(map(str, figures["size"]))}, {row["variant"]}', _seconds(row), speed_up, _mb(row), psnr


def _seconds(values: dict[str, float]) -> str:
    return f'{values["seconds"]:.4f}'


def _mb(values: dict[str, float]) -> str:
    return f'{values["megabytes"]:.0f}'


def _kernelgan(parts: dict[str, Any]) -> Iterator[tuple[object, ...]]:
    variants = parts.get('kernelgan', {}).get('variants', {})
    for name, values in variants.items():
        speed_up = values['images_per_hour'] / next(iter(variants.values()))['images_per_hour']
        yield name, f'{values["milliseconds"]:.3f}', f'{values["images_per_hour"]:.0f}', f'{speed_up:.1f}×'


def _demo(figures: dict[str, Any]) -> Iterator[tuple[object, ...]]:
    for name, psnr in figures.get('psnr', {}).items():
        yield name, f'{psnr:.2f}', f'{figures["ssim"][name]:.4f}'
    if figures:
        yield f'gain {figures["gain"]:+.2f} dB, noise level of samples {figures["noise_error"]:+.0%}', '', ''
