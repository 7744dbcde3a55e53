"""One page of pictures of a measured camera, self-contained HTML."""

from html import escape
from itertools import pairwise

import cv2
import numpy as np
import torch
from torch import Tensor

from usrdu_basicsr.degradation.camera import Camera
from usrdu_basicsr.degradation.camera_estimator import BIN_CENTRES
from usrdu_basicsr.ops.spectrum import frequency_radius
from usrdu_basicsr.utils.html import Series, figure, picture, plot
from usrdu_basicsr.utils.images import to_8bit

ZOOM = 3  # of patches
BANDS = 20  # of the radial average of spectra
STYLE = """:root{color-scheme:light dark}body{font:15px/1.5 system-ui,sans-serif;max-width:1160px;margin:2em auto}
section{display:flex;flex-wrap:wrap;gap:1.5em}figure{margin:0}figcaption{font-weight:600}svg{max-width:100%}
img{image-rendering:pixelated;max-width:100%}td,th{padding:0 1em 0 0;text-align:left}svg text{fill:currentColor}"""


def camera_page(camera: Camera) -> str:
    """Page with the numbers, kernel, spectra, noise by brightness, autocorrelation and flattest patches of a camera."""
    rows = ''.join(f'<tr><td>{name}</td><td>{number}</td></tr>' for name, number in camera.numbers.items())
    figures = [
        plot('Average power spectra', 'cycles per LR pixel', 'dB', _spectra(camera)),
        plot('Noise by brightness', 'brightness, gray levels', 'noise, gray levels', _noise_by_brightness(camera)),
        _matrix('Autocorrelation of the noise', camera.noise.autocorrelation),
        picture('Flattest patches of the LR images', _tile(camera.flat_patches)),
    ]
    if camera.kernel is not None:
        kernel = cv2.applyColorMap(to_8bit(camera.kernel / camera.kernel.max()), cv2.COLORMAP_INFERNO)
        figures.insert(0, picture('Blur kernel, HR pixels', _enlarge(kernel, 240 // len(kernel))))
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
    if not brightness:
        return {}
    constant, slope = (camera.numbers[name].value for name in ('noise_gaussian', 'noise_poisson'))
    fit = [(constant + slope * x) ** 0.5 for x in brightness]
    return {'measured': (brightness, curve[measured].mean(1).sqrt().tolist()), 'fit': (brightness, fit)}


def _matrix(title: str, values: Tensor) -> str:
    """Numbers on a background of their size."""
    cells = ''.join(
        f'<td style="background:rgba(31,119,180,{abs(value):.2f});padding:6px;text-align:right">{value:.2f}</td>'
        + ('</tr><tr>' if (number + 1) % len(values) == 0 else '')
        for number, value in enumerate(values.flatten().tolist())
    )
    return figure(title, f'<table><tr>{cells}</tr></table>')


def _tile(patches: np.ndarray) -> np.ndarray:
    """Two rows of enlarged patches `(N, P, P, 3)`."""
    rows = np.array_split(patches, 2) if len(patches) % 2 == 0 else [patches]
    return _enlarge(np.vstack([np.hstack(list(row)) for row in rows]), ZOOM)


def _enlarge(image: np.ndarray, factor: int) -> np.ndarray:
    return cv2.resize(image, None, fx=factor, fy=factor, interpolation=cv2.INTER_NEAREST)
