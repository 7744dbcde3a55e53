"""scripts/benchmarks/benchmark_data.py as a user runs it, at its smallest."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from python_process import ROOT, check_python

SETTINGS = ('--photos', '1', '--batch', '2', '--workers', '1', '--seconds', '1', '--rounds', '1', '--passes', '2')


def test_it_prints_a_row_for_each_way(tmp_path: Path):
    output = check_python(ROOT / 'scripts' / 'benchmarks' / 'benchmark_data.py', *SETTINGS, cwd=tmp_path)
    rows = re.findall(r'^(\S.*?) +([\d.]+) +([\d.]+)x +(\d+) +(\d+) +([-+.\d]+)%$', output, re.MULTILINE)
    names = ["BasicSR's, photos", 'ours, photos', 'ours, tiles', 'ours, tiles in LMDBs', 'the same, uncompressed']
    assert [row[0] for row in rows] == names
    for _, crops, gain, first, last, growth in rows:
        assert float(gain) == pytest.approx(float(crops) / float(rows[0][1]), rel=0.05, abs=0.1)  # all are rounded
        assert abs(int(last) / int(first) - 1 - float(growth) / 100) < 0.02
    assert float(rows[0][2]) == 1
