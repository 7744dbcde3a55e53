"""Verdict, page and model card of a run, and the page in Chromium if playwright and Chromium are installed."""

import hashlib
import json
import shutil
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from sample_images import sample_image
from usrdu_basicsr.degradation.fidelity import Fidelity
from usrdu_basicsr.report.collect import Comparison, RunResults
from usrdu_basicsr.report.model_card import model_card, open_model_db
from usrdu_basicsr.report.page import report_page
from usrdu_basicsr.report.verdict import verdict, warnings
from usrdu_basicsr.utils.images import write_png

SIDE = 400


@pytest.fixture
def results(tmp_path: Path) -> RunResults:
    """Results of a run whose name would break HTML without escaping."""
    folder = tmp_path / 'a&b <c>'
    write_png(folder / 'previews' / 'camera.png', sample_image())
    (folder / 'camera').mkdir()
    (folder / 'camera' / 'camera.html').write_text('<html><section><p>kernel</p></section></html>')
    sharp = sample_image(height=SIDE, width=SIDE)
    return RunResults(
        folder=folder,
        settings={'hr': 'images/hr', 'lr': 'images/lr', 'scale': 2, 'val_hr': None},
        options={
            'manual_seed': 0,
            'datasets': {'train': {'batch_size_per_gpu': 16, 'gt_size': 64}},
            'network_g': {'type': 'RRDBNet', 'num_feat': 64},
        },
        seconds={'camera': 20.0, 'training': 300.0},
        notes=['Only 8 LR images.'],
        metrics={'PSNR, dB': Comparison(25.5, 24.0, 1.1, 1.9, 8), 'SSIM': Comparison(0.8, 0.7, 0.05, 0.15, 8)},
        has_pairs=True,
        fidelity=Fidelity(95, 4, 4.1, 0.02, 0.01, 0.05, 0.001, 0.5, 0.1),
        camera_warnings=[],
        architecture='esrgan',
        iterations=2000,
        losses={100: 0.03, 1000: 0.02, 2000: 0.015},
        validations={1000: 25.0, 1500: 25.6, 2000: 25.5},
        pictures={'017': (cv2.GaussianBlur(sharp, (0, 0), 3), sharp)},
        model_sha256='0' * 64,
    )


def compared(results: RunResults, low: float, high: float) -> RunResults:
    return replace(results, metrics={'PSNR, dB': Comparison(24 + (low + high) / 2, 24.0, low, high, 8)})


def test_verdict_follows_the_interval(results: RunResults):
    first, score = verdict(results)
    assert (
        first == 'Better than bicubic upscaling by 1.50 dB PSNR on 8 validation images (95 % interval +1.10 to +1.90).'
    )
    assert score == 'Generated LR images resemble those of the camera (score 95 of 100).'
    assert next(verdict(compared(results, -0.9, -0.1))).startswith('Worse than bicubic upscaling by 0.50 dB')
    assert next(verdict(compared(results, -0.2, 0.3))).startswith('No clear difference from bicubic upscaling')
    unlike = list(verdict(replace(results, has_pairs=False, fidelity=replace(results.fidelity, score=40))))
    assert ' on 8 LR images of the measured camera (95 %' in unlike[0]
    assert unlike[1].startswith('The result for images of the real camera may differ.')
    assert unlike[2] == 'Generated LR images differ from those of the camera (score 40 of 100). See the warnings.'


def test_few_images_have_no_interval(results: RunResults):
    """The bootstrap of a single image has an interval without width."""
    psnr = {'PSNR, dB': Comparison(24.1, 24.0, 0.1, 0.1, 1)}
    few = replace(results, metrics=psnr, has_pairs=False)
    expected = 'by 0.10 dB PSNR on 1 LR image of the measured camera (too few images for an interval).'
    assert next(verdict(few)) == f'Better than bicubic upscaling {expected}'
    for text in (report_page(few), model_card(few)):
        assert '+0.10 (no interval)' in text and '+0.10 to +0.10' not in text


def test_scale_1_is_compared_with_the_input(results: RunResults):
    restored = replace(results, settings=results.settings | {'scale': 1})
    assert next(verdict(restored)).startswith('Better than the input by 1.50 dB')
    for text in (report_page(restored), model_card(restored)):
        assert 'the input' in text and 'bicubic' not in text


def test_warnings(results: RunResults):
    assert list(warnings(results)) == ['Only 8 LR images.']
    short = replace(results, iterations=200, validations={100: 20.0, 200: 22.0}, camera_warnings=['Few patches.'])
    assert list(warnings(short))[1:] == [
        'Few patches.',
        'Only 200 iterations: a longer --time gives a better network.',
        'The validation was best at the end: a longer --time may give a better network.',
    ]
    noisy = replace(results, fidelity=replace(results.fidelity, generated_noise=8, level_error=1.0))
    assert any('noise' in warning for warning in warnings(noisy))


def test_page_escapes_names_and_has_the_numbers(results: RunResults):
    page = report_page(results)
    assert '<h1>a&amp;b &lt;c&gt;</h1>' in page and 'a&b' not in page
    assert '<td>+1.50 (+1.10 to +1.90)</td>' in page and '<td>+0.1000 (+0.0500 to +0.1500)</td>' in page
    assert '<section><p>kernel</p></section>' in page and 'time of all</td><td>320 s' in page


def test_model_card_and_open_model_db(results: RunResults, tmp_path: Path):
    card = model_card(results)
    assert '| PSNR, dB | 24.00 | 25.50 | +1.50 (+1.10 to +1.90) |' in card and '- Only 8 LR images.' in card
    weights = tmp_path / 'model.safetensors'
    weights.write_bytes(b'weights')
    described = json.loads(open_model_db(results, weights))
    assert described['architecture'] == 'esrgan' and described['size'] == ['64nf'] and described['scale'] == 2
    file = {'size': 7, 'sha256': hashlib.sha256(b'weights').hexdigest()}
    assert described['resources'] == [{'platform': 'pytorch', 'type': 'safetensors', **file, 'urls': []}]
    assert described['trainingIterations'] == 2000 and described['trainingHRSize'] == 64


@pytest.mark.parametrize('width', [390, 1440])
@pytest.mark.parametrize('scheme', ['light', 'dark'])
def test_page_in_chromium(results: RunResults, tmp_path: Path, width: int, scheme: str):
    """The slider is dragged; nothing is requested, overflows or fails."""
    playwright = pytest.importorskip('playwright.sync_api')
    if (chromium := shutil.which('chromium')) is None:
        pytest.skip('needs Chromium')
    (tmp_path / 'report.html').write_text(report_page(results), encoding='utf-8')
    problems: list[str] = []
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=chromium, args=['--no-sandbox'])
        page = browser.new_page(viewport={'width': width, 'height': 800}, color_scheme=scheme)
        page.on('console', lambda message: problems.append(message.text))
        page.on('pageerror', lambda error: problems.append(str(error)))
        page.on('request', lambda request: problems.append(request.url) if request.url.startswith('http') else None)
        page.goto((tmp_path / 'report.html').as_uri())
        before = cv2.imdecode(np.frombuffer(page.locator('.slider').screenshot(), np.uint8), cv2.IMREAD_COLOR)
        box = page.locator('.slider input').bounding_box()
        page.mouse.move(box['x'] + box['width'] / 2, box['y'] + 40)
        page.mouse.down()
        page.mouse.move(box['x'] + 0.9 * box['width'], box['y'] + 40)
        page.mouse.up()
        after = cv2.imdecode(np.frombuffer(page.locator('.slider').screenshot(), np.uint8), cv2.IMREAD_COLOR)
        overflow = page.evaluate('document.documentElement.scrollWidth - innerWidth')
        browser.close()
    assert problems == [] and overflow <= 0
    part = (slice(60, 300), slice(int(0.55 * box['width']), int(0.85 * box['width'])))
    assert cv2.Laplacian(after[part], cv2.CV_64F).std() < 0.5 * cv2.Laplacian(before[part], cv2.CV_64F).std()
