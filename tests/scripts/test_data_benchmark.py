"""scripts/benchmarks/benchmark_data.py at the smallest size."""

import re
from pathlib import Path

import pytest

from python_process import ROOT, check_python

pytestmark = pytest.mark.slow

SETTINGS = ('--images', '1', '--batch', '2', '--workers', '1', '--seconds', '1', '--rounds', '1', '--passes', '2')


def test_prints_a_row_per_dataset(tmp_path: Path):
    output = check_python(ROOT / 'scripts' / 'benchmarks' / 'benchmark_data.py', *SETTINGS, cwd=tmp_path)
    rows = re.findall(r'^(\S.*?) +([\d.]+) +([\d.]+)x +(\d+) +(\d+) +([-+.\d]+)%$', output, re.MULTILINE)
    names = ['BasicSR, images', 'images', 'sub-images', 'sub-images in LMDBs', 'the same, uncompressed']
    assert [row[0] for row in rows] == names
    for _, patches, gain, first, last, growth in rows:
        assert float(gain) == pytest.approx(float(patches) / float(rows[0][1]), rel=0.05, abs=0.1)  # rounded values
        assert abs(int(last) / int(first) - 1 - float(growth) / 100) < 0.02
    assert float(rows[0][2]) == 1
