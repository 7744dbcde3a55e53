"""scripts/benchmarks/benchmark_camera.py with one camera and few images."""

import sys
from pathlib import Path

import pytest

import benchmark_camera
from sample_images import write_sample_images
from usrdu_basicsr.degradation import simulated_camera


def test_prints_a_row_per_camera(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    for folder in ('hr', 'scenes'):
        write_sample_images(tmp_path / folder, 3, 300, 400)
    monkeypatch.setattr(benchmark_camera, 'BLURS', [(2.5, 2.5, 4)])
    monkeypatch.setattr(simulated_camera, 'CAMERAS', {'anisotropic': simulated_camera.CAMERAS['anisotropic']})
    arguments = ['--hr', str(tmp_path / 'hr'), '--scenes', str(tmp_path / 'scenes'), '--scale', '2']
    monkeypatch.setattr(sys, 'argv', ['benchmark_camera.py', *arguments])
    assert benchmark_camera.main() == 0
    lines = capsys.readouterr().out.splitlines()
    row, made = ([cell.strip() for cell in lines[number].split('|')[1:-1]] for number in (2, 6))
    assert row[0] == '1.25 × 1.25' and row[1] == '4'
    assert 0 < float(row[2]) < float(row[3]) and float(row[4]) == pytest.approx(4.01, abs=0.6)
    assert made[0] == '`anisotropic`' and 0 < float(made[1]) < float(made[2])
    assert float(made[3]) == pytest.approx(5, abs=0.6) and float(made[4][:-1]) < 10 and float(made[5]) < 0.1
