"""Estimating the kernels of a folder: files, reports, what is skipped and named, kill and resume, shared work."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from scipy.io import loadmat

from python_process import ROOT, check_python, run_python
from sample_images import sample_image, write_sample_images
from usrdu_basicsr.data.kernel_set import read_kernel, read_kernel_set
from usrdu_basicsr.kernelgan import estimate as estimate_kernels
from usrdu_basicsr.kernelgan import postprocess
from usrdu_basicsr.kernelgan.crops import SourceImages
from usrdu_basicsr.kernelgan.estimate import EstimationSettings, KernelEstimation
from usrdu_basicsr.kernelgan.kernel_report import CELL, LABEL, contact_sheet
from usrdu_basicsr.kernelgan.postprocess import consensus, kernel_error, post_process, x2_to_x4_kernel
from usrdu_basicsr.kernelgan.training import RawKernels, train_kernels
from usrdu_basicsr.utils.errors import InputError, InputNotFoundError

CPU = torch.device('cpu')
QUICK = EstimationSettings(runs=2, iterations=4)
SCRIPT = ROOT / 'scripts' / 'estimate_kernels.py'
# The script, with kernels of so few iterations let pass that all would count as collapsed
QUICK_SCRIPT = f"""
import runpy
from usrdu_basicsr.kernelgan import postprocess
postprocess.COLLAPSED = float('inf')
runpy.run_path({str(SCRIPT)!r}, run_name='__main__')
"""


@pytest.fixture
def camera(tmp_path: Path) -> Path:
    write_sample_images(tmp_path / 'camera', 3, 90, 96)
    return tmp_path / 'camera'


@pytest.fixture(autouse=True)
def few_iterations_will_do(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(postprocess, 'COLLAPSED', np.inf)


@pytest.fixture
def quick_script(tmp_path: Path) -> Path:
    (tmp_path / 'quick.py').write_text(QUICK_SCRIPT)
    return tmp_path / 'quick.py'


def estimate(photos: Path, output: Path, settings: EstimationSettings = QUICK, batch: int = 2, **options: object):
    return KernelEstimation(photos, output, settings, **options).run(CPU, batch, show_progress=False)


def kernels_of(folder: Path) -> dict[str, np.ndarray]:
    return {path.stem: read_kernel(path) for path in sorted(folder.glob('*.npy'))}


def gaussian(row: float, column: float, spread: float = 1.732) -> np.ndarray:
    y, x = np.indices((13, 13))
    kernel = np.exp(-((y - row) ** 2 + (x - column) ** 2) / (2 * spread**2))
    return kernel / kernel.sum()


def test_what_is_written(camera: Path, tmp_path: Path):
    output = tmp_path / 'kernels'
    report = estimate(camera, output)
    assert report.written == ['astronaut.png', 'chelsea.png', 'coffee.png']
    names = ['astronaut', 'chelsea', 'coffee']
    for scale in (2, 4):
        folder = output / f'x{scale}'
        assert sorted(path.name for path in folder.iterdir()) == sorted(
            f'{name}.{extension}' for name in names for extension in ('npy', 'mat')
        )
        for name in names:
            np.testing.assert_array_equal(loadmat(folder / f'{name}.mat')['Kernel'], np.load(folder / f'{name}.npy'))
        assert len(read_kernel_set(folder, 96)) == 3
    for name in names:
        np.testing.assert_array_equal(
            read_kernel(output / f'x4/{name}.npy'), x2_to_x4_kernel(read_kernel(output / f'x2/{name}.npy'))
        )

    seeds = [estimate_kernels._seed(0, 'chelsea', run) for run in range(2)]
    image = sample_image('chelsea', 90, 96)[..., ::-1].astype(np.float32) / 255
    result = train_kernels(SourceImages([image], CPU), [0, 0], seeds, CPU, 4)
    expected = consensus(result.kernels)
    np.testing.assert_allclose(read_kernel(output / 'x2/chelsea.npy'), expected, atol=1e-6)

    lines = [json.loads(line) for line in (output / 'kernels.jsonl').read_text().splitlines()]
    assert [line['name'] for line in lines] == report.written
    record = lines[1]
    assert {'runs': 2, 'iterations': 4, 'seed': 0}.items() <= record.items()
    assert record['sum'] == pytest.approx(result.kernels.sum((1, 2)).mean(), abs=1e-3)
    assert record['losses'] == pytest.approx({k: v.mean() for k, v in result.losses.items()}, abs=1e-4)
    assert len(record['centre_of_mass']) == len(record['spread']) == 2
    assert record['disagreement'] > 0
    sheet = cv2.imread(str(output / 'kernels.png'))
    assert sheet.shape == (2 * (CELL + LABEL), 2 * CELL, 3)


def test_what_is_told_of_a_kernel(camera: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Two runs that found Gaussians off the centre, one that collapsed, one without numbers."""
    monkeypatch.setattr(postprocess, 'COLLAPSED', 0.5)
    good, bad = 0.75 * gaussian(5.5, 7), 1.7 * gaussian(2, 9, spread=0.5)
    found = np.stack([good, bad, good, good * np.nan]).astype(np.float32)

    def train(images, which, seeds, device, iterations, progress):
        count = len(which) // 4
        return RawKernels(np.tile(found, (count, 1, 1)), {'gan': np.tile(np.float32([1, 9, 2, 9]), count)})

    monkeypatch.setattr(estimate_kernels, 'train_kernels', train)
    estimate(camera, tmp_path / 'kernels', EstimationSettings(runs=4))
    record = json.loads((tmp_path / 'kernels/kernels.jsonl').read_text().splitlines()[0])
    assert record['losses'] == {'gan': 1.5} and record['collapsed'] == 2
    assert record['sum'] == pytest.approx(0.75)
    assert record['centre_of_mass'] == pytest.approx([-1, 0.5], abs=0.02)
    kernel = read_kernel(tmp_path / 'kernels/x2/astronaut.npy')
    assert kernel_error(kernel, post_process(good)) < 0.02  # which is moved once more
    assert record['spread'] == pytest.approx([1.5, 1.5], abs=0.15)
    assert record['disagreement'] < 0.02


def test_agreement_gives_little_weight_to_an_odd_run():
    right = [gaussian(6.5 + dy, 6.5) for dy in (-0.2, -0.1, 0.1)]
    odd = np.zeros((13, 13))
    odd[2, 3], odd[10, 9] = 0.7, 0.3
    agreed = consensus(np.stack([*right, odd]))
    expected = post_process(right[1])
    apart = [np.pad(post_process(kernel), 2)[:17, :17] for kernel in (*right, odd)]
    assert kernel_error(agreed, expected) < 0.05
    assert kernel_error(np.mean(apart, axis=0), expected) > 0.2
    assert agreed.sum() == pytest.approx(1) and agreed.min() >= -1e-3


def test_a_single_run_is_taken_as_it_is():
    np.testing.assert_allclose(consensus(gaussian(6, 7)[None]), post_process(gaussian(6, 7)), rtol=1e-3, atol=1e-9)


def test_runs_of_other_sizes_agree():
    small, large = gaussian(6.5, 6.5), gaussian(2, 6.5)
    assert len(post_process(large)) > len(post_process(small))
    agreed = consensus(np.stack([small, large, large]))
    assert agreed.shape == post_process(large).shape
    assert agreed.sum() == pytest.approx(1)


def test_the_sheet_shows_every_kernel():
    kernels = {f'{i}': np.eye(17) if i == 4 else np.eye(13)[::-1] for i in range(5)}
    sheet = contact_sheet(kernels)
    assert sheet.shape == (2 * (CELL + LABEL), 3 * CELL, 3)
    brightest = sheet.astype(int).sum(2) > 600
    assert brightest[: CELL // 4, : CELL // 4].sum() == 0  # the others are padded, and their first tap is empty
    assert brightest[CELL + LABEL :, CELL : CELL + CELL // 17].any()


def test_photos_without_kernel_are_named(camera: Path, tmp_path: Path, monkeypatch, caplog):
    monkeypatch.setattr(postprocess, 'COLLAPSED', 0.5)
    report = estimate(camera, tmp_path / 'kernels')  # after four iterations no kernel has a sum yet
    assert "coffee.png' has no kernel: each of the 2 runs collapsed. Stage 1 does without it" in caplog.text
    assert report.failed == ['astronaut.png', 'chelsea.png', 'coffee.png'] and not report.written
    assert not (tmp_path / 'kernels/x2').exists() and not (tmp_path / 'kernels/kernels.png').exists()


def test_bad_photos_do_not_stop_the_others(camera: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture):
    (camera / 'broken.png').write_bytes((camera / 'coffee.png').read_bytes()[:2000])
    (camera / 'empty.jpg').touch()
    cv2.imwrite(str(camera / 'tiny.png'), sample_image('rocket', 83, 200))
    cv2.imwrite(str(camera / 'gray.png'), sample_image('rocket', 84, 90)[..., 0])
    cv2.imwrite(str(camera / 'infinite.tiff'), np.full((90, 90, 3), np.inf, np.float32))
    with caplog.at_level(logging.WARNING):
        report = estimate(camera, tmp_path / 'kernels')
    assert report.too_small == ['tiny.png'] and report.failed == ['broken.png', 'empty.jpg', 'infinite.tiff']
    assert report.written == ['astronaut.png', 'chelsea.png', 'coffee.png', 'gray.png']
    for text in (
        "tiny.png' is skipped: KernelGAN needs 84 pixels a side",
        "cannot read image '",
        'empty.jpg',
        "infinite.tiff' holds values",
    ):
        assert text in caplog.text
    assert set(kernels_of(tmp_path / 'kernels/x2')) == {Path(name).stem for name in report.written}


def test_a_second_run_finishes_the_first(camera: Path, tmp_path: Path):
    output = tmp_path / 'kernels'
    estimate(camera, output)
    before = kernels_of(output / 'x2') | {f'{k}_x4': v for k, v in kernels_of(output / 'x4').items()}
    times = {path: path.stat().st_mtime_ns for path in output.glob('x?/*')}
    for path in (output / 'x2/astronaut.npy', output / 'records/chelsea.json', output / 'x4/coffee.npy'):
        path.unlink()
    (output / 'x4/coffee.mat').write_bytes(b'cut')
    report = estimate(camera, output)
    assert (report.written, report.skipped) == (['astronaut.png', 'chelsea.png'], ['coffee.png'])
    after = kernels_of(output / 'x2') | {f'{k}_x4': v for k, v in kernels_of(output / 'x4').items()}
    assert before.keys() == after.keys()
    assert all(kernel_error(after[name], before[name]) < 1e-5 for name in before)
    assert estimate(camera, output).skipped == ['astronaut.png', 'chelsea.png', 'coffee.png']
    assert len((output / 'kernels.jsonl').read_text().splitlines()) == 3
    assert len(times) == 12 and not list(output.rglob('*.tmp'))


def test_other_settings_and_newer_photos_are_estimated_again(camera: Path, tmp_path: Path):
    output = tmp_path / 'kernels'
    estimate(camera, output, scale=2)
    assert not (output / 'x4').exists()
    assert len(estimate(camera, output).skipped) == 3 and len(list((output / 'x4').glob('*.npy'))) == 3
    assert len(estimate(camera, output, EstimationSettings(runs=2, iterations=4, seed=1)).written) == 3
    later = time.time() + 5
    os.utime(camera / 'coffee.png', (later, later))
    assert estimate(camera, output, EstimationSettings(runs=2, iterations=4, seed=1)).written == ['coffee.png']


def test_a_kernel_does_not_depend_on_batch_or_share(camera: Path, tmp_path: Path):
    estimate(camera, tmp_path / 'one', batch=1)
    estimate(camera, tmp_path / 'all', batch=3)
    for rank in range(2):
        estimate(camera, tmp_path / 'shared', share=(rank, 2))
    one, together, shared = (kernels_of(tmp_path / name / 'x4') for name in ('one', 'all', 'shared'))
    assert one.keys() == together.keys() == shared.keys()
    for name in one:
        assert max(kernel_error(together[name], one[name]), kernel_error(shared[name], one[name])) < 1e-5
    assert (tmp_path / 'shared/kernels.jsonl').read_text() == (tmp_path / 'one/kernels.jsonl').read_text()


def test_a_kernel_belongs_to_its_photo(camera: Path, tmp_path: Path):
    output = tmp_path / 'kernels'
    estimate(camera, output)
    estimate(camera, output, EstimationSettings(runs=2, iterations=4, seed=1), scale=2)
    assert not list((output / 'x4').iterdir())  # of the seed before
    assert len(estimate(camera, output, EstimationSettings(runs=2, iterations=4, seed=1)).skipped) == 3
    x2, x4 = kernels_of(output / 'x2'), kernels_of(output / 'x4')
    assert all(kernel_error(x4[name], x2_to_x4_kernel(x2[name])) < 1e-6 for name in x2)
    old = time.time() - 1000
    cv2.imwrite(str(camera / 'chelsea.png'), sample_image('rocket', 90, 96))
    os.utime(camera / 'chelsea.png', (old, old))
    assert estimate(camera, output, EstimationSettings(runs=2, iterations=4, seed=1)).written == ['chelsea.png']


def test_a_photo_that_loses_its_kernel(camera: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    output = tmp_path / 'kernels'
    estimate(camera, output)
    monkeypatch.setattr(postprocess, 'COLLAPSED', 0)
    later = time.time() + 5
    os.utime(camera / 'coffee.png', (later, later))
    assert estimate(camera, output).failed == ['coffee.png']
    assert sorted(kernels_of(output / 'x4')) == ['astronaut', 'chelsea']
    assert len((output / 'kernels.jsonl').read_text().splitlines()) == 2


def test_memory_bounds_a_batch(camera: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    batches = []

    def train(images, which, seeds, device, iterations, progress):
        batches.append(len(images.sources.shapes))
        return train_kernels(images, which, seeds, device, iterations, progress)

    monkeypatch.setattr(estimate_kernels, 'train_kernels', train)
    monkeypatch.setattr(estimate_kernels, 'MAX_PIXELS', 2 * 90 * 96)
    estimate(camera, tmp_path / 'kernels', batch=16)
    assert batches == [2, 1]


def test_inputs_that_cannot_work(camera: Path, tmp_path: Path):
    with pytest.raises(InputNotFoundError, match='no folder'):
        estimate(tmp_path / 'none', tmp_path / 'kernels')
    with pytest.raises(InputError, match='is the folder of the photos'):
        estimate(camera, camera)
    (tmp_path / 'file').touch()
    with pytest.raises(InputError, match='is a file; name a folder'):
        estimate(camera, tmp_path / 'file')
    cv2.imwrite(str(camera / 'coffee.jpg'), sample_image('coffee', 90, 96))
    with pytest.raises(InputError, match='would share a name'):
        estimate(camera, tmp_path / 'kernels')


def test_the_script(camera: Path, tmp_path: Path, quick_script: Path):
    arguments = ('-i', 'camera', '-o', 'kernels', '--runs', '2', '--iterations', '4')
    result = run_python(quick_script, *arguments, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert result.stdout == '3 written, 0 there already, 0 too small, 0 failed\n'
    assert '0 of 3 photos left' in result.stderr and 'to go' in result.stderr
    (camera / 'broken.png').write_bytes(b'')
    result = run_python(quick_script, *arguments, cwd=tmp_path)
    assert result.returncode == 1
    assert result.stdout == '0 written, 3 there already, 0 too small, 1 failed\n'


def test_the_script_as_it_is(tmp_path: Path):
    write_sample_images(tmp_path / 'camera', 1, 84, 84)
    result = run_python(SCRIPT, '-i', 'camera', '-o', 'kernels', '--iterations', '600', '--runs', '2', cwd=tmp_path)
    # whether runs collapse depends on the processor's rounding
    assert (result.returncode, result.stdout[:9]) in ((0, '1 written'), (1, '0 written')), result.stderr
    assert run_python(SCRIPT, '-i', 'camera', '-o', 'camera/astronaut.png', cwd=tmp_path).stderr.startswith(
        "error: output '"
    )
    assert (
        'argument --batch: expected at least 1, got 0'
        in run_python(SCRIPT, '-i', 'a', '-o', 'b', '--batch', '0', cwd=tmp_path).stderr
    )


def test_two_processes_share_the_photos(camera: Path, tmp_path: Path, quick_script: Path):
    launcher = ('-m', 'torch.distributed.run', '--standalone', '--nproc_per_node', '2')
    arguments = ('-i', 'camera', '-o', 'kernels', '--runs', '2', '--iterations', '4', '--device', 'cpu')
    (camera / 'a broken one.png').touch()  # does not end the other process
    told = check_python(*launcher, quick_script, *arguments, cwd=tmp_path, CUDA_VISIBLE_DEVICES='')
    assert sorted(told.split('\n')) == [
        '',
        '1 written, 0 there already, 0 too small, 1 failed',
        '2 written, 0 there already, 0 too small, 0 failed',
    ]
    (camera / 'a broken one.png').unlink()
    estimate(camera, tmp_path / 'one')
    shared, one = kernels_of(tmp_path / 'kernels/x2'), kernels_of(tmp_path / 'one/x2')
    assert shared.keys() == one.keys() and all(kernel_error(shared[name], one[name]) < 1e-5 for name in one)
    assert len((tmp_path / 'kernels/kernels.jsonl').read_text().splitlines()) == 3


@pytest.mark.skipif(sys.platform == 'win32', reason='SIGKILL')
def test_a_killed_run_is_finished(camera: Path, tmp_path: Path, quick_script: Path):
    command = [sys.executable, quick_script, '-i', 'camera', '-o', 'kernels', '--runs', '2', '--iterations', '40']
    environment = {**os.environ, 'PYTHONPATH': str(ROOT), 'OMP_NUM_THREADS': '1'}
    process = subprocess.Popen([*command, '--batch', '1'], cwd=tmp_path, env=environment, stderr=subprocess.DEVNULL)
    try:
        deadline = time.time() + 120
        while not list(tmp_path.glob('kernels/x2/*.npy')) and time.time() < deadline:
            time.sleep(0.01)
        assert process.poll() is None and list(tmp_path.glob('kernels/x2/*.npy'))
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    settings = EstimationSettings(runs=2, iterations=40)
    for path in (tmp_path / 'kernels').glob('x?/*.npy'):
        read_kernel(path)  # whole
    report = estimate(camera, tmp_path / 'kernels', settings)
    assert len(report.written) + len(report.skipped) == 3 and report.written
    estimate(camera, tmp_path / 'straight', settings)
    resumed, straight = kernels_of(tmp_path / 'kernels/x4'), kernels_of(tmp_path / 'straight/x4')
    assert all(kernel_error(resumed[name], straight[name]) < 1e-5 for name in straight)
