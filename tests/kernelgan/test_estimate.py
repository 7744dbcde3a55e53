"""Kernel estimation for a folder: files, report, skipped and failed images, resuming, and several processes."""

import argparse
import json
import logging
import os
import signal
import subprocess
import sys
import time
import zlib
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from scipy.io import loadmat

from python_process import ROOT, check_python, run_script
from sample_images import sample_image, write_sample_images
from usrdu_basicsr.cli import kernels
from usrdu_basicsr.cli.command_line import run_script as run_main
from usrdu_basicsr.data.kernel_set import read_kernel, read_kernel_set
from usrdu_basicsr.kernelgan import estimate as estimate_module
from usrdu_basicsr.kernelgan import postprocess
from usrdu_basicsr.kernelgan.crops import SourceImages
from usrdu_basicsr.kernelgan.estimate import EstimationSettings, estimate_kernels
from usrdu_basicsr.kernelgan.kernel_files import CELL, LABEL, contact_sheet
from usrdu_basicsr.kernelgan.postprocess import consensus, kernel_error, post_process, x2_to_x4_kernel
from usrdu_basicsr.kernelgan.training import train_kernels
from usrdu_basicsr.utils.errors import InputError, InputNotFoundError
from usrdu_basicsr.utils.seed import derive_seed

CPU = torch.device('cpu')
QUICK = EstimationSettings(runs=2, iterations=4)
SCRIPT = ROOT / 'scripts' / 'estimate_kernels.py'
# The script without the check for collapsed runs, as all runs of few iterations are collapsed
QUICK_SCRIPT = f"""
import runpy
from usrdu_basicsr.kernelgan import postprocess
postprocess.COLLAPSED_SUM_ERROR = float('inf')
runpy.run_path({str(SCRIPT)!r}, run_name='__main__')
"""


@pytest.fixture
def camera(tmp_path: Path) -> Path:
    write_sample_images(tmp_path / 'camera', 3, 90, 96)
    return tmp_path / 'camera'


@pytest.fixture(autouse=True)
def accept_collapsed_runs(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(postprocess, 'COLLAPSED_SUM_ERROR', np.inf)


@pytest.fixture
def quick_script(tmp_path: Path) -> Path:
    (tmp_path / 'quick.py').write_text(QUICK_SCRIPT)
    return tmp_path / 'quick.py'


def estimate(images: Path, output: Path, settings: EstimationSettings = QUICK, batch: int = 2, **options: object):
    return estimate_kernels(images, output, settings, CPU, batch, **options)


def kernels_of(folder: Path) -> dict[str, np.ndarray]:
    return {path.stem: read_kernel(path) for path in sorted(folder.glob('*.npy'))}


def gaussian(row: float, column: float, spread: float = 1.732) -> np.ndarray:
    y, x = np.indices((13, 13))
    kernel = np.exp(-((y - row) ** 2 + (x - column) ** 2) / (2 * spread**2))
    return kernel / kernel.sum()


def test_written_files(camera: Path, tmp_path: Path):
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

    seeds = [derive_seed(0, zlib.crc32(b'chelsea'), run) for run in range(2)]
    image = sample_image('chelsea', 90, 96)[..., ::-1].astype(np.float32) / 255
    kernels, losses = train_kernels(SourceImages([image], CPU), [0, 0], seeds, CPU, 4)
    np.testing.assert_allclose(read_kernel(output / 'x2/chelsea.npy'), consensus(kernels), atol=1e-6)

    lines = [json.loads(line) for line in (output / 'kernels.jsonl').read_text().splitlines()]
    assert [line['name'] for line in lines] == report.written
    record = lines[1]
    assert {'runs': 2, 'iterations': 4, 'seed': 0}.items() <= record.items()
    assert record['sum'] == pytest.approx(kernels.sum((1, 2)).mean(), abs=1e-3)
    assert record['losses'] == pytest.approx({k: v.mean() for k, v in losses.items()}, abs=1e-4)
    assert len(record['centre_of_mass']) == len(record['spread']) == 2
    assert record['disagreement'] > 0
    sheet = cv2.imread(str(output / 'kernels.png'))
    assert sheet.shape == (2 * (CELL + LABEL), 2 * CELL, 3)


def test_kernel_record(camera: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Of four runs, two are off-centre Gaussians, one has collapsed and one is NaN."""
    monkeypatch.setattr(postprocess, 'COLLAPSED_SUM_ERROR', 0.5)
    good, bad = 0.75 * gaussian(5.5, 7), 1.7 * gaussian(2, 9, spread=0.5)
    raw = np.stack([good, bad, good, good * np.nan]).astype(np.float32)

    def train(images, indices, seeds, device, iterations, progress):
        count = len(indices) // 4
        return np.tile(raw, (count, 1, 1)), {'gan': np.tile(np.float32([1, 9, 2, 9]), count)}

    monkeypatch.setattr(estimate_module, 'train_kernels', train)
    estimate(camera, tmp_path / 'kernels', EstimationSettings(runs=4))
    record = json.loads((tmp_path / 'kernels/kernels.jsonl').read_text().splitlines()[0])
    assert record['losses'] == {'gan': 1.5} and record['collapsed'] == 2
    assert record['sum'] == pytest.approx(0.75)
    assert record['centre_of_mass'] == pytest.approx([-1, 0.5], abs=0.02)
    kernel = read_kernel(tmp_path / 'kernels/x2/astronaut.npy')
    assert kernel_error(kernel, post_process(good)) < 0.02  # the consensus is shifted once more
    assert record['spread'] == pytest.approx([1.5, 1.5], abs=0.15)
    assert record['disagreement'] < 0.02


def test_consensus_limits_outliers():
    regular = [gaussian(6.5 + dy, 6.5) for dy in (-0.2, -0.1, 0.1)]
    outlier = np.zeros((13, 13))
    outlier[2, 3], outlier[10, 9] = 0.7, 0.3
    median = consensus(np.stack([*regular, outlier]))
    expected = post_process(regular[1])
    padded = [np.pad(post_process(kernel), 2)[:17, :17] for kernel in (*regular, outlier)]
    assert kernel_error(median, expected) < 0.05
    assert kernel_error(np.mean(padded, axis=0), expected) > 0.2
    assert median.sum() == pytest.approx(1) and median.min() >= -1e-3


def test_consensus_of_a_single_run():
    np.testing.assert_allclose(consensus(gaussian(6, 7)[None]), post_process(gaussian(6, 7)), rtol=1e-3, atol=1e-9)


def test_consensus_of_different_sizes():
    small, large = gaussian(6.5, 6.5), gaussian(2, 6.5)
    assert len(post_process(large)) > len(post_process(small))
    median = consensus(np.stack([small, large, large]))
    assert median.shape == post_process(large).shape
    assert median.sum() == pytest.approx(1)


def test_contact_sheet_shows_every_kernel():
    kernels = {f'{i}': np.eye(17) if i == 4 else np.eye(13)[::-1] for i in range(5)}
    sheet = contact_sheet(kernels)
    assert sheet.shape == (2 * (CELL + LABEL), 3 * CELL, 3)
    brightest = sheet.astype(int).sum(2) > 600
    assert brightest[: CELL // 4, : CELL // 4].sum() == 0  # padded; the first tap is empty
    assert brightest[CELL + LABEL :, CELL : CELL + CELL // 17].any()


def test_images_without_kernel_are_reported(camera: Path, tmp_path: Path, monkeypatch, caplog):
    monkeypatch.setattr(postprocess, 'COLLAPSED_SUM_ERROR', 0.5)
    report = estimate(camera, tmp_path / 'kernels')  # after four iterations all runs are collapsed
    assert "coffee.png': all 2 runs collapsed. Stage 1 can train without it" in caplog.text
    assert report.failed == ['astronaut.png', 'chelsea.png', 'coffee.png'] and not report.written
    assert not (tmp_path / 'kernels/x2').exists() and not (tmp_path / 'kernels/kernels.png').exists()


def test_bad_images_are_reported(camera: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture):
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
        "tiny.png': got 83x200 pixels, expected sides >= 84",
        "cannot read image '",
        'empty.jpg',
        "infinite.tiff': got float32 from inf to inf, expected [0, 1]",
    ):
        assert text in caplog.text
    assert set(kernels_of(tmp_path / 'kernels/x2')) == {Path(name).stem for name in report.written}


def test_second_run_resumes_the_first(camera: Path, tmp_path: Path):
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


def test_another_scale_and_newer_images_are_computed(camera: Path, tmp_path: Path):
    output = tmp_path / 'kernels'
    estimate(camera, output, scale=2)
    assert not (output / 'x4').exists()
    assert len(estimate(camera, output).skipped) == 3 and len(list((output / 'x4').glob('*.npy'))) == 3
    later = time.time() + 5
    os.utime(camera / 'coffee.png', (later, later))
    assert estimate(camera, output).written == ['coffee.png']


@pytest.mark.parametrize('changed', [{'seed': 1}, {'runs': 3}, {'iterations': 5}])
def test_kernels_of_other_settings_are_kept(camera: Path, tmp_path: Path, changed: dict[str, int]):
    output = tmp_path / 'kernels'
    estimate(camera, output)
    before = {path: path.read_bytes() for path in output.rglob('*') if path.is_file()}
    (name,), (value,) = changed.keys(), changed.values()
    message = (
        rf"the kernel of 'astronaut.png' has {name} {getattr(QUICK, name)}, expected {value}. Choose another folder"
    )
    with pytest.raises(InputError, match=message):
        estimate(camera, output, replace(QUICK, **changed))
    assert {path: path.read_bytes() for path in output.rglob('*') if path.is_file()} == before


def test_kernel_does_not_depend_on_batch_or_share(camera: Path, tmp_path: Path):
    estimate(camera, tmp_path / 'single', batch=1)
    estimate(camera, tmp_path / 'batch', batch=3)
    for rank in range(2):
        estimate(camera, tmp_path / 'shared', share=(rank, 2))
    single, batch, shared = (kernels_of(tmp_path / name / 'x4') for name in ('single', 'batch', 'shared'))
    assert single.keys() == batch.keys() == shared.keys()
    for name in single:
        assert max(kernel_error(batch[name], single[name]), kernel_error(shared[name], single[name])) < 1e-5
    assert (tmp_path / 'shared/kernels.jsonl').read_text() == (tmp_path / 'single/kernels.jsonl').read_text()


def test_kernels_of_other_images_are_replaced(camera: Path, tmp_path: Path):
    output = tmp_path / 'kernels'
    estimate(camera, output)
    cv2.imwrite(str(camera / 'chelsea.png'), sample_image('rocket', 90, 96))
    os.utime(camera / 'chelsea.png', (1000, 1000))  # older than the kernel
    assert estimate(camera, output, scale=2).written == ['chelsea.png']
    assert not (output / 'x4' / 'chelsea.npy').exists()  # that of the previous image is removed
    assert len(estimate(camera, output).skipped) == 3
    x2, x4 = kernels_of(output / 'x2'), kernels_of(output / 'x4')
    assert all(kernel_error(x4[name], x2_to_x4_kernel(x2[name])) < 1e-6 for name in x2)


@pytest.mark.skipif(sys.platform != 'linux', reason='file names are bytes on Linux')
def test_name_that_is_not_utf8(tmp_path: Path):
    (tmp_path / 'camera').mkdir()
    os.rename(write_sample_images(tmp_path, 1, 84, 84)[0], os.fsencode(tmp_path / 'camera') + b'/bad\xff.png')
    report = estimate(tmp_path / 'camera', tmp_path / 'kernels')
    assert len(report.written) == 1 and len(list((tmp_path / 'kernels' / 'x4').iterdir())) == 2


def test_failed_image_loses_its_old_kernel(camera: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    output = tmp_path / 'kernels'
    estimate(camera, output)
    monkeypatch.setattr(postprocess, 'COLLAPSED_SUM_ERROR', 0)
    later = time.time() + 5
    os.utime(camera / 'coffee.png', (later, later))
    assert estimate(camera, output).failed == ['coffee.png']
    assert sorted(kernels_of(output / 'x4')) == ['astronaut', 'chelsea']
    assert len((output / 'kernels.jsonl').read_text().splitlines()) == 2


def test_image_that_became_unusable_loses_its_old_kernel(camera: Path, tmp_path: Path):
    output = tmp_path / 'kernels'
    estimate(camera, output)
    (camera / 'chelsea.png').write_bytes(b'no image')
    cv2.imwrite(str(camera / 'coffee.png'), np.zeros((9, 9, 3)))
    report = estimate(camera, output)
    assert (report.failed, report.too_small, report.skipped) == (['chelsea.png'], ['coffee.png'], ['astronaut.png'])
    assert sorted(kernels_of(output / 'x2')) == ['astronaut']
    assert len((output / 'kernels.jsonl').read_text().splitlines()) == 1


def test_pixel_limit_of_a_batch(camera: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    batches = []

    def train(images, indices, seeds, device, iterations, progress):
        batches.append(len(images.sources.shapes))
        return train_kernels(images, indices, seeds, device, iterations, progress)

    monkeypatch.setattr(estimate_module, 'train_kernels', train)
    monkeypatch.setattr(estimate_module, 'MAX_PIXELS', 2 * 90 * 96)
    estimate(camera, tmp_path / 'kernels', batch=16)
    assert batches == [2, 1]


def test_invalid_folders_are_rejected(camera: Path, tmp_path: Path):
    with pytest.raises(InputNotFoundError, match='does not exist'):
        estimate(tmp_path / 'none', tmp_path / 'kernels')
    with pytest.raises(InputError, match='is the input folder'):
        estimate(camera, camera)
    (tmp_path / 'file').touch()
    with pytest.raises(InputError, match='is a file, expected a folder'):
        estimate(camera, tmp_path / 'file')
    cv2.imwrite(str(camera / 'coffee.jpg'), sample_image('coffee', 90, 96))
    with pytest.raises(InputError, match='would share a name'):
        estimate(camera, tmp_path / 'kernels')


def test_command(camera: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> tuple[int, str, str]:
        parser = argparse.ArgumentParser()
        kernels.add_arguments(parser)
        return kernels.run(parser.parse_args([*arguments, '--device', 'cpu'])), *capsys.readouterr()

    arguments = ('-i', 'camera', '-o', 'kernels', '--runs', '2', '--iterations', '4')
    status, stdout, stderr = run(*arguments)
    assert status == 0, stderr
    assert stdout == '3 written, 0 skipped (already exist), 0 too small, 0 failed\n'
    assert '0.0 of 3 images' in stderr and 'remaining' in stderr
    (camera / 'broken.png').write_bytes(b'')
    assert run(*arguments)[:2] == (1, '0 written, 3 skipped (already exist), 0 too small, 1 failed\n')
    for option, value, least in (('--batch', '0', 1), ('--seed', '-1', 0)):
        with pytest.raises(SystemExit):
            run('-i', 'a', '-o', 'b', option, value)
        assert f'argument {option}: got {value}, expected an integer >= {least}' in capsys.readouterr().err
    monkeypatch.setattr(signal, 'signal', lambda *_: None)
    with pytest.raises(SystemExit, match=r"^error: output '"):
        run_main(lambda: run('-i', 'camera', '-o', 'camera/coffee.png')[0])


@pytest.mark.slow
def test_script_process(tmp_path: Path):
    """Default settings of the script, except for fewer iterations and runs."""
    write_sample_images(tmp_path / 'camera', 1, 84, 84)
    result = run_script(SCRIPT, '-i', 'camera', '-o', 'kernels', '--iterations', '210', '--runs', '2', cwd=tmp_path)
    # The rounding of the processor decides whether runs collapse.
    assert (result.returncode, result.stdout[:9]) in ((0, '1 written'), (1, '0 written')), result.stderr


@pytest.mark.slow
def test_two_processes_share_the_images(camera: Path, tmp_path: Path, quick_script: Path):
    launcher = ('-m', 'torch.distributed.run', '--standalone', '--nproc_per_node', '2')
    arguments = ('-i', 'camera', '-o', 'kernels', '--runs', '2', '--iterations', '4', '--device', 'cpu')
    (camera / 'a broken one.png').touch()  # must not stop the other process
    output = check_python(*launcher, quick_script, *arguments, cwd=tmp_path, CUDA_VISIBLE_DEVICES='')
    assert sorted(output.split('\n')) == [
        '',
        '1 written, 0 skipped (already exist), 0 too small, 1 failed',
        '2 written, 0 skipped (already exist), 0 too small, 0 failed',
    ]
    (camera / 'a broken one.png').unlink()
    estimate(camera, tmp_path / 'one')
    shared, one = kernels_of(tmp_path / 'kernels/x2'), kernels_of(tmp_path / 'one/x2')
    assert shared.keys() == one.keys() and all(kernel_error(shared[name], one[name]) < 1e-5 for name in one)
    assert len((tmp_path / 'kernels/kernels.jsonl').read_text().splitlines()) == 3


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == 'win32', reason='SIGKILL')
def test_killed_run_is_resumed(camera: Path, tmp_path: Path, quick_script: Path):
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
        read_kernel(path)  # not truncated
    report = estimate(camera, tmp_path / 'kernels', settings)
    assert len(report.written) + len(report.skipped) == 3 and report.written
    estimate(camera, tmp_path / 'straight', settings)
    resumed, straight = kernels_of(tmp_path / 'kernels/x4'), kernels_of(tmp_path / 'straight/x4')
    assert all(kernel_error(resumed[name], straight[name]) < 1e-5 for name in straight)
