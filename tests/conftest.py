"""Set-up of all tests: registers the plugin and seeds the random numbers of Python, NumPy and torch."""

import random
import signal

import numpy as np
import pytest
import torch

import usrdu_basicsr

usrdu_basicsr.register()
# A shell ignores SIGINT in background jobs, and the processes of the tests would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def bf16_everywhere(monkeypatch: pytest.MonkeyPatch):
    """Allow bf16 on every CPU. Results are correct, but slow to compute, without bf16 instructions."""
    monkeypatch.setattr(torch.ops.mkldnn, '_is_mkldnn_bf16_supported', lambda: True)


@pytest.fixture(autouse=True)
def seeded():
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)
