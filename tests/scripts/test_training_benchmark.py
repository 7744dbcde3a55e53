"""scripts/benchmarks/benchmark_training.py at the smallest size."""

import json
import re
from pathlib import Path

import pytest

from python_process import ROOT, check_python

pytestmark = pytest.mark.slow

SETTINGS = (
    *('--device', 'cpu', '--steps', '1', '--rounds', '1', '--gt_size', '64', '--batch', '1', '--num_block', '1', '1'),
    *('--image_size', '64', '96', '--json', 'figures.json'),
)
TITLES = ['stage 1, 1 patches of 64', 'stage 2, 1 patches of 64', 'generating LR of 64x96']


def test_prints_and_writes_a_row_per_setting(tmp_path: Path):
    script = ROOT / 'scripts' / 'benchmarks' / 'benchmark_training.py'
    output = check_python(script, *SETTINGS, cwd=tmp_path)
    report = json.loads((tmp_path / 'figures.json').read_text())
    assert [key for key in report if key not in ('device', 'torch', 'steps')] == TITLES
    assert 'skipped tf32: precision: tf32 is not supported' in output
    for title in TITLES:
        table = output.split(title)[1].split('\n\n')[0]
        rows = re.findall(r'^(\S.*?) +([\d.]+) +([\d.]+)x +(\d+)$', table, re.MULTILINE)
        assert [row[0] for row in rows] == list(report[title]) and len(rows) >= 2
        first = next(iter(report[title].values()))['seconds']
        for name, seconds, gain, megabytes in rows:
            assert float(seconds) == pytest.approx(report[title][name]['seconds'], abs=1e-3)
            assert float(gain) == pytest.approx(first / report[title][name]['seconds'], abs=0.01)
            assert float(megabytes) == pytest.approx(report[title][name]['megabytes'], abs=1) and float(megabytes) > 0
    settings = list(report[TITLES[0]])
    assert settings[:2] == ["BasicSR's SRGANModel, fp32", 'fp32'] and settings[-1] == 'fp32, channels last'
