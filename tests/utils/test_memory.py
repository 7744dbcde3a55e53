"""Free memory by control group, and malloc tuning. Limits of the process are tested in `inference/test_upscaler.py`."""

import platform
from pathlib import Path

import pytest
import torch

from python_process import check_script
from usrdu_basicsr.utils import memory

PAGE_FAULTS = """\
import resource
import numpy as np
import torch
from usrdu_basicsr.kernelgan.crops import SourceImages
from usrdu_basicsr.kernelgan.training import train_kernels

def page_faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    blocks = [torch.zeros(20 << 18) for _ in range(8)]  # 160 MiB
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

image, cpu = np.random.default_rng(0).random((84, 84, 3), np.float32), torch.device('cpu')
page_faults()
default = page_faults()
train_kernels(SourceImages([image], cpu), [0], [0], cpu, 1)
print(default, min(page_faults() for _ in range(5)))
"""


@pytest.mark.skipif(platform.libc_ver()[0] != 'glibc', reason='malloc tuning has no effect with other C libraries')
def test_kernelgan_training_reuses_freed_memory(tmp_path: Path):
    script = tmp_path / 'page_faults.py'
    script.write_text(PAGE_FAULTS)
    default, tuned = map(int, check_script(script, cwd=tmp_path).split())
    assert tuned < default / 10


@pytest.mark.parametrize(('limit', 'free'), [('max\n', None), (f'{5 << 20}\n', 2 << 20), (f'{1 << 20}\n', 0)])
def test_free_memory_respects_the_control_group(
    limit: str, free: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / 'memory.max').write_text(limit)
    (tmp_path / 'memory.current').write_text(f'{3 << 20}\n')
    monkeypatch.setattr(memory, 'CGROUP', tmp_path)
    got = memory.free_memory(torch.device('cpu'))
    assert got > 100 << 20 if free is None else got == free
    assert memory.free_memory(torch.device('meta')) is None
