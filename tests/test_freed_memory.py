"""Memory that was freed is there for the next iteration, without asking the system for it."""

from __future__ import annotations

import platform
from pathlib import Path

import pytest

from python_process import check_python

PROGRAM = """
import resource
import torch
from usrdu_basicsr.kernelgan.freed_memory import keep_freed_memory

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    blocks = [torch.zeros(20 << 18) for _ in range(8)]  # 160 MiB
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

faults()
by_default = faults()
keep_freed_memory()
print(by_default, min(faults() for _ in range(5)))
"""


@pytest.mark.skipif(platform.libc_ver()[0] != 'glibc', reason='other C libraries are left as they are')
def test_freed_memory_is_kept(tmp_path: Path):
    by_default, kept = map(int, check_python('-c', PROGRAM, cwd=tmp_path).split())
    assert by_default > 10_000  # pages of 4 KiB
    assert kept < 500
