"""The result of a run in words."""

from collections.abc import Iterator

from usrdu_basicsr.report.collect import RunResults

FEW_ITERATIONS = 500
TOO_FEW = 'too few images for an interval'
LOW_SCORE = 80


def verdict(results: RunResults) -> Iterator[str]:
    """Sentences on the quality of the network, the most important one first."""
    psnr = results.metrics['PSNR, dB']
    kind = 'validation image' if results.has_pairs else 'LR image of the measured camera'
    images = f'{psnr.images} {kind.replace("image", "images") if psnr.images > 1 else kind}'
    interval = f'95 % interval {psnr.low:+.2f} to {psnr.high:+.2f}' if psnr.has_interval else TOO_FEW
    if psnr.has_interval and psnr.low <= 0 <= psnr.high:
        yield f'No clear difference from {results.baseline} in PSNR on {images} ({interval}).'
    else:
        comparison = 'Better' if psnr.gain > 0 else 'Worse'
        yield f'{comparison} than {results.baseline} by {abs(psnr.gain):.2f} dB PSNR on {images} ({interval}).'
    if not results.has_pairs:
        yield 'The result for images of the real camera may differ. Pass pairs as --val_hr and --val_lr to measure it.'
    score = f'score {results.fidelity.score:.0f} of 100'
    if results.fidelity.score >= LOW_SCORE:
        yield f'Generated LR images resemble those of the camera ({score}).'
    else:
        yield f'Generated LR images differ from those of the camera ({score}). See the warnings.'


def warnings(results: RunResults) -> Iterator[str]:
    """Sentences on what makes the result unreliable."""
    yield from results.notes
    yield from results.camera_warnings
    yield from results.fidelity.findings()
    if results.iterations < FEW_ITERATIONS:
        yield f'Only {results.iterations:,} iterations: a longer --time gives a better network.'
    values = results.validations
    if values and values[max(values)] == max(values.values()):
        yield 'The validation was best at the end: a longer --time may give a better network.'
