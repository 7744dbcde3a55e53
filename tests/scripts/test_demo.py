"""scripts/demo.sh with two training iterations."""

import os
import subprocess
import sys
from pathlib import Path

import cv2
import pytest

from python_process import ROOT

pytestmark = pytest.mark.slow


def run_demo(folder: Path, change: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        ['bash', ROOT / 'scripts' / 'demo.sh', '--force_yml', change],
        cwd=folder,
        env=os.environ | {'PYTHON': sys.executable, 'PYTHONPATH': str(ROOT), 'OMP_NUM_THREADS': '1'},
        capture_output=True,
        text=True,
        timeout=600,
    )


def test_demo_from_images_to_report(tmp_path: Path):
    """Two iterations miss the gain, so the exit status is 1; noise is calibrated. All output files are written."""
    folder = tmp_path / 'a folder'
    folder.mkdir()
    result = run_demo(folder, 'train:total_iter=2')
    assert result.returncode == 1, result.stdout + result.stderr
    assert 'Traceback' not in result.stderr
    for line in (
        'bicubic upscaling',
        'SR trained on sampled LR',
        'real LR',
        'generated LR: sampled',
        'MISSED: PSNR gain',
        'met: noise level',
    ):
        assert line in result.stdout
    comparison = cv2.imread(str(folder / 'demo_output' / 'comparison.png'))
    assert comparison.shape == (20 + 2 * 192, 6 * 192, 3)
    assert len(list((folder / 'datasets' / 'demo' / 'generated' / 'lr').iterdir())) == 85
    names = [
        {path.stem.split('_left')[0] for path in (folder / 'datasets' / 'demo' / name).iterdir()}
        for name in ('HR', 'camera', 'validation/HR')
    ]
    assert {f'{name}_right' for name in names[0]} == names[1] and not names[0] & names[2]


def test_demo_stops_when_a_training_fails(tmp_path: Path):
    result = run_demo(tmp_path, 'scale=5')
    assert result.returncode == 1
    assert 'train_srn.yml:16: datasets: train: gt_size: got 96, expected' in result.stderr.splitlines()[-1]
    assert not (tmp_path / 'experiments').exists()
