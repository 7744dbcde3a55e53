"""scripts/benchmarks/benchmark_camera.py with one camera and few images."""

import sys
from pathlib import Path

import pytest

import benchmark_camera
from sample_images import write_sample_images


def test_prints_a_row_per_camera(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    for folder in ('hr', 'scenes'):
        write_sample_images(tmp_path / folder, 3, 300, 400)
    monkeypatch.setattr(benchmark_camera, 'CAMERAS', [(2.5, 2.5, 4)])
    arguments = ['--hr', str(tmp_path / 'hr'), '--scenes', str(tmp_path / 'scenes'), '--scale', '2']
    monkeypatch.setattr(sys, 'argv', ['benchmark_camera.py', *arguments])
    assert benchmark_camera.main() == 0
    row = [cell.strip() for cell in capsys.readouterr().out.splitlines()[2].split('|')[1:-1]]
    assert row[0] == '1.25 × 1.25' and row[1] == '4'
    assert 0 < float(row[2]) < float(row[3]) and float(row[4]) == pytest.approx(4.01, abs=0.6)
