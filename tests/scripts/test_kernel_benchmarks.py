"""KernelGAN benchmark scripts and their fixed kernels."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from benchmark_kernel_recovery import VARIANCES, centre_error, delta, or_nan, random_kernel
from python_process import ROOT, check_python, run_python
from usrdu_basicsr.degradation.blur_kernel import hr_kernel
from usrdu_basicsr.degradation.simulated_camera import gaussian_kernel
from usrdu_basicsr.kernelgan.postprocess import post_process

SCRIPTS = ROOT / 'scripts' / 'benchmarks'


def rows(output: str) -> dict[str, list[float]]:
    """Numbers of each line of a table, by the label in its first 20 columns."""
    return {
        line[:20].strip(): [float(word) for word in line[20:].split() if word != 'px']
        for line in output.splitlines()[2:]
    }


@pytest.mark.slow
def test_recovery(tmp_path: Path):
    arguments = ('--iterations', '2', '--seeds', '2', '--runs', '1', '--device', 'cpu', '-o', 'out')
    output = check_python(SCRIPTS / 'benchmark_kernel_recovery.py', *arguments, cwd=tmp_path)
    assert output.startswith('4 images, 2 seeds of 1 runs of 2 iterations, 8 of 8 runs collapsed')
    table = rows(output)
    assert table['delta'] == [5.031, 0, 5.748, 0.707]
    assert table['bicubic'] == [1.447, 0, 1.787, 0]
    assert table['round Gaussian'] == [0.316, 0, 0.506]
    written = json.loads((tmp_path / 'out/errors.json').read_text())
    assert np.mean(written['errors']['one run']) == pytest.approx(table['one run'][0], abs=6e-4)
    assert written['images'] == ['astronaut', 'chelsea', 'coffee', 'rocket']
    assert cv2.imread(str(tmp_path / 'out/kernels.png')) is not None


@pytest.mark.slow
def test_speed(tmp_path: Path):
    arguments = ('--batch', '2', '--rounds', '1', '--device', 'cpu')
    output = check_python(SCRIPTS / 'benchmark_kernelgan.py', *arguments, cwd=tmp_path)
    layered, batched = (
        [float(word) for word in line[24:].split() if word[0].isdigit()] for line in output.splitlines()[2:]
    )
    assert layered[1] == pytest.approx(3600 / 3000 / (layered[0] / 1000), rel=0.01, abs=0.06)  # one decimal
    assert batched[2] == pytest.approx(layered[0] / batched[0], rel=0.05)


@pytest.mark.parametrize('script', ['benchmark_kernelgan', 'benchmark_kernel_recovery'])
def test_invalid_batch_is_rejected(script: str, tmp_path: Path):
    result = run_python(SCRIPTS / f'{script}.py', '--batch', '0', cwd=tmp_path)
    assert 'argument --batch: got 0, expected an integer >= 1' in result.stderr


def test_fixed_kernels():
    """Compare with closed forms."""
    assert centre_error(delta()) == pytest.approx(0.5**0.5)
    bicubic = hr_kernel(np.ones((1, 1)), 2)
    assert centre_error(bicubic) == pytest.approx(0, abs=1e-9)
    taps = np.array([-0.0234375, -0.0703125, 0.2265625, 0.8671875]) / 2  # the cubic at 1.75, 1.25, 0.75 and 0.25
    np.testing.assert_allclose(bicubic[8, 5:13], np.array([*taps, *taps[::-1]]) * taps[3], atol=1e-9)
    kernel = gaussian_kernel(2, 1, np.pi / 2, 2)
    offsets = np.arange(17) - 8.5
    assert kernel.sum(0) @ offsets**2 == pytest.approx(1, rel=0.01)  # the wide axis is vertical
    assert kernel.sum(1) @ offsets**2 == pytest.approx(4, rel=0.01)


def test_random_kernel():
    """Its covariance, in (row, column), is that of the drawn angle and variances."""
    kernel, rng = random_kernel(np.random.default_rng(0)), np.random.default_rng(0)
    angle, variances = rng.uniform(0, np.pi), rng.uniform(*VARIANCES, 2)
    axes = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    covariance = np.cov(np.indices((17, 17)).reshape(2, -1), aweights=kernel.ravel(), ddof=0)
    np.testing.assert_allclose(covariance, axes @ np.diag(variances) @ axes.T, atol=0.01)
    assert centre_error(kernel) == pytest.approx(0, abs=0.01)


def test_run_without_kernel_is_nan():
    assert np.isnan(or_nan(post_process, np.zeros((13, 13)))).all()
