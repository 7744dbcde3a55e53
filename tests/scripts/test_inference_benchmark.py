"""scripts/benchmarks/benchmark_inference.py on a small network."""

import json
import re
from pathlib import Path

import pytest
import torch
from basicsr.archs.srvgg_arch import SRVGGNetCompact

from python_process import ROOT, check_python

pytestmark = pytest.mark.slow


def test_prints_and_writes_a_row_per_variant(tmp_path: Path):
    torch.save({'params': SRVGGNetCompact(num_feat=16, num_conv=2, upscale=2).state_dict()}, tmp_path / 'net.pth')
    arguments = ['--model_path', 'net.pth', '--device', 'cpu', '--size', '70', '80', '--precisions', 'fp32']
    arguments += ['--tiles', '0', '64', '--repeat', '1', '--json', 'figures.json']
    output = check_python(ROOT / 'scripts' / 'benchmarks' / 'benchmark_inference.py', *arguments, cwd=tmp_path)
    report = json.loads((tmp_path / 'figures.json').read_text())
    assert report['size'] == [70, 80]
    rows = re.findall(r'^\| (\S.*?) \| ([\d.]+) \| ([\d.]+) \| (\d+) \| ([\d.]+|inf) \|$', output, re.MULTILINE)
    assert [row[0] for row in rows] == ['published script', 'fp32, whole', 'fp32, tiles of 64']
    first = report['variants'][0]['seconds']
    for (name, seconds, speedup, megabytes, psnr), variant in zip(rows, report['variants'], strict=True):
        assert name == variant['variant'] and float(psnr) > 100
        assert float(seconds) == pytest.approx(variant['seconds'], abs=0.006)
        assert float(speedup) == pytest.approx(first / variant['seconds'], abs=0.06)
        assert float(megabytes) == pytest.approx(variant['megabytes'], abs=1)
