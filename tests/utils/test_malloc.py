"""Memory that was freed is there for the next iteration, without asking the system for it."""

from __future__ import annotations

import platform
from pathlib import Path

import pytest

from python_process import check_python

PROGRAM = """
import resource
import numpy as np
import torch
from usrdu_basicsr.kernelgan.crops import SourceImages
from usrdu_basicsr.kernelgan.training import train_kernels

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    blocks = [torch.zeros(20 << 18) for _ in range(8)]  # 160 MiB
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

photo, cpu = np.random.default_rng(0).random((84, 84, 3), np.float32), torch.device('cpu')
faults()
by_default = faults()
train_kernels(SourceImages([photo], cpu), [0], [0], cpu, 1)
print(by_default, min(faults() for _ in range(5)))
"""


@pytest.mark.skipif(platform.libc_ver()[0] != 'glibc', reason='other C libraries are left as they are')
def test_training_keeps_freed_memory(tmp_path: Path):
    by_default, kept = map(int, check_python('-c', PROGRAM, cwd=tmp_path).split())
    assert kept < by_default / 10
