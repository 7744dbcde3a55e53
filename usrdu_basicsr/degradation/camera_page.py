"""One page of pictures of a measured camera, self-contained HTML."""

import base64
from html import escape
from itertools import pairwise

import cv2
import numpy as np
import torch
from torch import Tensor

from usrdu_basicsr.degradation.camera import Camera
from usrdu_basicsr.degradation.camera_estimator import BIN_CENTRES
from usrdu_basicsr.ops.spectrum import frequency_radius
from usrdu_basicsr.utils.images import encode_png, to_8bit

WIDTH, HEIGHT, MARGIN = 360, 240, 44  # of a plot, pixels
COLORS = ('#1f77b4', '#ff7f0e', '#2ca02c')
ZOOM = 3  # of patches
BANDS = 20  # of the radial average of spectra
STYLE = """:root{color-scheme:light dark}body{font:15px/1.5 system-ui,sans-serif;max-width:1160px;margin:2em auto}
section{display:flex;flex-wrap:wrap;gap:1.5em}figure{margin:0}figcaption{font-weight:600}svg{max-width:100%}
img{image-rendering:pixelated;max-width:100%}td,th{padding:0 1em 0 0;text-align:left}svg text{fill:currentColor}"""

Series = dict[str, tuple[list[float], list[float]]]


def camera_page(camera: Camera) -> str:
    """Page with the numbers, kernel, spectra, noise by brightness, autocorrelation and flattest patches of a camera."""
    rows = ''.join(f'<tr><td>{name}</td><td>{number}</td></tr>' for name, number in camera.numbers.items())
    figures = [
        _plot('Average power spectra', 'cycles per LR pixel', 'dB', _spectra(camera)),
        _plot('Noise by brightness', 'brightness, gray levels', 'noise, gray levels', _noise_by_brightness(camera)),
        _matrix('Autocorrelation of the noise', camera.noise.autocorrelation),
        _picture('Flattest patches of the LR images', _tile(camera.flat_patches)),
    ]
    if camera.kernel is not None:
        kernel = cv2.applyColorMap(to_8bit(camera.kernel / camera.kernel.max()), cv2.COLORMAP_INFERNO)
        figures.insert(0, _picture('Blur kernel, HR pixels', _enlarge(kernel, 240 // len(kernel))))
    warnings = ''.join(f'<li>{escape(warning)}</li>' for warning in camera.warnings)
    counts = ', '.join(f'{count} {name.upper()} images' for name, count in camera.images.items())
    files = ', '.join(f'{count} {label}' for label, count in camera.jpeg.items())
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f'<title>Camera</title><style>{STYLE}</style><h1>Camera, scale {camera.scale}</h1>'
        f'<p>{counts}; files: {escape(files)}</p><ul>{warnings}</ul>'
        f'<section>{"".join(figures)}</section><h2>Numbers with 95 % intervals</h2><table>{rows}</table></html>\n'
    )


def _spectra(camera: Camera) -> Series:
    """Radial averages of the power spectra in dB."""
    size = len(camera.power[0])
    powers = dict(zip(('LR images', 'HR, bicubic'), camera.power, strict=False))
    powers['noise'] = camera.noise.spectrum(size)
    radius, edges = frequency_radius(size), torch.linspace(0.02, 0.7, BANDS + 1)
    series: Series = {}
    for name, power in powers.items():
        bands = [power[(radius >= low) & (radius < high)].mean() for low, high in pairwise(edges)]
        series[name] = (edges[:-1].tolist(), [float(10 * band.clamp(min=1e-2).log10()) for band in bands])
    return series


def _noise_by_brightness(camera: Camera) -> Series:
    """Measured noise of the channels, and the Poisson-Gaussian fit."""
    curve = camera.noise.curve
    measured = ~curve.isnan().any(1)
    brightness = BIN_CENTRES[measured].tolist()
    constant, slope = (camera.numbers[name].value for name in ('noise_gaussian', 'noise_poisson'))
    fit = [(constant + slope * x) ** 0.5 for x in brightness]
    return {'measured': (brightness, curve[measured].mean(1).sqrt().tolist()), 'fit': (brightness, fit)}


def _plot(title: str, x_label: str, y_label: str, series: Series) -> str:
    values = [(x, y) for xs, ys in series.values() for x, y in zip(xs, ys, strict=True)]
    if not values:
        return _figure(title, '<p>not measured</p>')
    (left, right), (low, high) = ((min(each), max(each)) for each in zip(*values, strict=True))
    low, high = min(low, 0), high if high > low else low + 1
    width, height = WIDTH - 2 * MARGIN, HEIGHT - 2 * MARGIN

    def place(x: float, y: float) -> tuple[float, float]:
        across = (x - left) / (right - left) if right > left else 0.5
        return MARGIN + width * across, HEIGHT - MARGIN - height * (y - low) / (high - low)

    parts = [f'<path d="M{MARGIN} {MARGIN}v{height}h{width}" fill="none" stroke="currentColor"/>']
    for number, (name, (xs, ys)) in enumerate(series.items()):
        points = ' '.join('{:.1f},{:.1f}'.format(*place(x, y)) for x, y in zip(xs, ys, strict=True))
        color = COLORS[number]
        parts.append(f'<polyline points="{points}" fill="none" stroke="{color}" stroke-width="2"/>')
        parts.append(f'<text x="{MARGIN + 110 * number}" y="{MARGIN - 24}" style="fill:{color}">{escape(name)}</text>')
    for x, y, anchor, text in (
        (MARGIN - 4, MARGIN + 5, 'end', f'{high:.3g}'),
        (MARGIN - 4, HEIGHT - MARGIN, 'end', f'{low:.3g}'),
        (MARGIN, HEIGHT - MARGIN + 16, 'middle', f'{left:.3g}'),
        (WIDTH - MARGIN, HEIGHT - MARGIN + 16, 'middle', f'{right:.3g}'),
        (WIDTH / 2, HEIGHT - 8, 'middle', x_label),
        (4, MARGIN - 8, 'start', y_label),
    ):
        parts.append(f'<text x="{x}" y="{y}" text-anchor="{anchor}">{escape(text)}</text>')
    return _figure(title, f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" font-size="13">{"".join(parts)}</svg>')


def _matrix(title: str, values: Tensor) -> str:
    """Numbers on a background of their size."""
    cells = ''.join(
        f'<td style="background:rgba(31,119,180,{abs(value):.2f});padding:6px;text-align:right">{value:.2f}</td>'
        + ('</tr><tr>' if (number + 1) % len(values) == 0 else '')
        for number, value in enumerate(values.flatten().tolist())
    )
    return _figure(title, f'<table><tr>{cells}</tr></table>')


def _picture(title: str, image: np.ndarray) -> str:
    content = base64.b64encode(encode_png(image, title)).decode()
    return _figure(title, f'<img alt="{escape(title)}" src="data:image/png;base64,{content}">')


def _figure(title: str, content: str) -> str:
    return f'<figure><figcaption>{escape(title)}</figcaption>{content}</figure>'


def _tile(patches: np.ndarray) -> np.ndarray:
    """Two rows of enlarged patches `(N, P, P, 3)`."""
    rows = np.array_split(patches, 2) if len(patches) % 2 == 0 else [patches]
    return _enlarge(np.vstack([np.hstack(list(row)) for row in rows]), ZOOM)


def _enlarge(image: np.ndarray, factor: int) -> np.ndarray:
    return cv2.resize(image, None, fx=factor, fy=factor, interpolation=cv2.INTER_NEAREST)
