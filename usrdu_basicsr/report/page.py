"""The report of a run: one self-contained HTML page."""

import base64
import platform
import re
import shlex
from collections.abc import Iterable, Sequence
from html import escape

import basicsr
import cv2
import numpy as np
import torch
import yaml

from usrdu_basicsr.report import run_folder as names
from usrdu_basicsr.report.collect import RunResults
from usrdu_basicsr.report.verdict import verdict, warnings
from usrdu_basicsr.utils.html import picture, plot
from usrdu_basicsr.utils.images import centre_crop, read_image, to_8bit
from usrdu_basicsr.version import __version__

SLIDER_SIDE = 360  # pixels; 1:1 on a phone
QUALITY = 92  # of JPEG
STYLE = """:root{color-scheme:light dark}
body{font:16px/1.5 system-ui,sans-serif;max-width:1160px;margin:0 auto;padding:1em 15px;overflow-wrap:anywhere}
section{display:flex;flex-wrap:wrap;gap:1.5em;align-items:flex-start}figure{margin:0;max-width:100%;overflow-x:auto}
figcaption{font-weight:600}svg{max-width:100%;height:auto}svg text{fill:currentColor}img{max-width:100%}
section img{image-rendering:pixelated}table{border-collapse:collapse}td,th{padding:.2em 1em .2em 0;text-align:left}
td:not(:last-child){overflow-wrap:normal}
pre{overflow-x:auto;padding:.8em;border:1px solid color-mix(in srgb,currentColor 25%,transparent);border-radius:6px}
.verdict{font-size:1.25em}.slider{position:relative;display:block}.slider img{display:block;max-width:none}
.slider .after{position:absolute;inset:0;clip-path:inset(0 0 0 var(--at,50%))}
.slider input{position:absolute;inset:0;width:100%;height:100%;margin:0;opacity:0;cursor:ew-resize;touch-action:pan-y}
.slider::after{content:"";position:absolute;top:0;bottom:0;left:var(--at,50%);width:2px;margin-left:-1px;
background:#fff;box-shadow:0 0 3px #000;pointer-events:none}
.slider:focus-within{outline:2px solid Highlight;outline-offset:2px}
.slider span{position:absolute;bottom:6px;padding:0 .5em;border-radius:4px;background:#000a;color:#fff;font-size:13px;
pointer-events:none}.slider .left{left:6px}.slider .right{right:6px}"""
SCRIPT = """for(const input of document.querySelectorAll('.slider input'))
input.addEventListener('input',()=>input.parentNode.style.setProperty('--at',input.value+'%'))"""


def report_page(results: RunResults) -> str:
    """Page with the verdict, held-back images before and after, the camera, curves, metrics, warnings and commands."""
    title = escape(results.folder.resolve().name)
    first, *others = verdict(results)
    sliders = ''.join(_slider(name, results.baseline, *pair) for name, pair in results.pictures.items())
    body = [
        f'<h1>{title}</h1><p class="verdict">{escape(first)}</p>',
        *(f'<p>{escape(sentence)}</p>' for sentence in others),
        '<h2>Camera images before and after</h2>',
        '<p>Parts of images that were not trained on, pixel by pixel. Drag the line, or use the arrow keys.</p>',
        f'<section>{sliders}</section>',
        '<h2>Warnings</h2>',
        _list(list(warnings(results)) or ['none']),
        '<h2>Metrics</h2>',
        f'<figure>{_table(results.metric_rows())}</figure>',
        '<h2>Generated and real LR images</h2>',
        f'<section>{picture("generated (left), camera (right)", _preview(results))}</section>',
        _fidelity(results),
        f'<h2>Camera</h2>{_camera(results)}',
        f'<h2>Training</h2><section>{_curves(results)}</section>',
        f'<h2>Use the network</h2>{_usage(results)}',
        f'<h2>Run</h2>{_run(results)}',
    ]
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1"><link rel="icon" href="data:,">'
        f'<title>{title}</title><style>{STYLE}</style>{"".join(body)}<script>{SCRIPT}</script></html>\n'
    )


def _slider(name: str, baseline: str, before: np.ndarray, after: np.ndarray) -> str:
    before, after = (centre_crop(image, SLIDER_SIDE) for image in (before, after))
    height, width = after.shape[:2]
    size = f'width="{width}" height="{height}"'
    label = escape(name)
    return (
        f'<figure><figcaption>{label}</figcaption><div class="slider" style="width:{width}px">'
        f'<img {size} alt="{label}: {baseline}" src="{_jpeg(before)}">'
        f'<img class="after" {size} alt="{label}: network" src="{_jpeg(after)}">'
        f'<span class="left">{baseline.removeprefix("the ")}</span><span class="right">network</span>'
        f'<input type="range" min="0" max="100" value="50" aria-label="Part of {label} that shows {baseline}">'
        '</div></figure>'
    )


def _jpeg(image: np.ndarray) -> str:
    content = cv2.imencode('.jpg', image, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1].tobytes()
    return f'data:image/jpeg;base64,{base64.b64encode(content).decode()}'


def _list(sentences: list[str]) -> str:
    return f'<ul>{"".join(f"<li>{escape(sentence)}</li>" for sentence in sentences)}</ul>'


def _table(rows: Iterable[Sequence[str]]) -> str:
    cells = (''.join(f'<td>{escape(cell)}</td>' for cell in row) for row in rows)
    return f'<table>{"".join(f"<tr>{row}</tr>" for row in cells)}</table>'


def _fidelity(results: RunResults) -> str:
    return _table([(name.replace('_', ' '), f'{value:.3g}') for name, value in results.fidelity.numbers().items()])


def _camera(results: RunResults) -> str:
    """Figures of `usrdu camera`."""
    page = (results.folder / names.CAMERA / 'camera.html').read_text(encoding='utf-8')
    found = re.search(r'<section>.*</section>', page, re.DOTALL)
    return found[0] if found else ''


def _preview(results: RunResults) -> np.ndarray:
    return to_8bit(read_image(results.folder / names.PREVIEW))


def _curves(results: RunResults) -> str:
    def line(values: dict[int, float]) -> tuple[list[float], list[float]]:
        return [float(iteration) for iteration in values], list(values.values())

    loss = plot('Pixel loss', 'iteration', 'loss', {'training': line(results.losses)})
    psnr = {'validation': line(results.validations)}
    return loss + plot('Validation', 'iteration', 'PSNR, dB', psnr, from_zero=False)


def _usage(results: RunResults) -> str:
    folder = results.folder.resolve()
    network = ['--model_path', str(folder / names.MODEL)]
    if results.options['network_g']['type'] != 'SpandrelArch':  # spandrel detects it
        network += ['-opt', str(folder / names.options_file(names.SRN))]
    upscale = ['usrdu', 'upscale', '-i', 'IMAGES', '-o', 'RESULTS', *network]
    export = ['usrdu', 'export', *network, '-o', str(folder / names.EXPORT), '--format', 'onnx']
    weights = folder / names.WEIGHTS
    return (
        f'<pre>{escape(shlex.join(upscale))}</pre>'
        f'<p>Add <code>--strength 0.7</code> for a softer result between {results.baseline} and the network.</p>'
        f'<p>chaiNNer and ComfyUI read <code>{escape(str(weights))}</code>. For ONNX Runtime:</p>'
        f'<pre>{escape(shlex.join(export))}</pre>'
    )


def _run(results: RunResults) -> str:
    rows = [(name, str(value)) for name, value in results.settings.items() if value is not None]
    rows += [(f'time of {step}', f'{seconds:.0f} s') for step, seconds in results.seconds.items()]
    rows += [
        ('time of all', f'{sum(results.seconds.values()):.0f} s'),
        ('iterations', f'{results.iterations:,}'),
        ('seed', str(results.options['manual_seed'])),
        ('SHA-256 of model.pth', results.model_sha256),
        ('usrdu_basicsr', __version__),
        ('basicsr, torch', f'{basicsr.__version__}, {torch.__version__}'),
        ('Python', f'{platform.python_version()} on {platform.platform()}'),
    ]
    options = escape(yaml.safe_dump(results.options, sort_keys=False))
    return (
        f'<figure>{_table(rows)}</figure><details><summary>Options of stage 2</summary><pre>{options}</pre></details>'
    )
