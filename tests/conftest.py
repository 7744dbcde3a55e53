"""Shared by all tests: the plugin is registered, Python's, NumPy's and torch's random numbers start alike."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch

import usrdu_basicsr

usrdu_basicsr.register()


@pytest.fixture
def bf16_everywhere(monkeypatch: pytest.MonkeyPatch):
    """Any CPU computes in bfloat16, if slowly, for tests of values."""
    monkeypatch.setattr(torch.ops.mkldnn, '_is_mkldnn_bf16_supported', lambda: True)


@pytest.fixture(autouse=True)
def seeded():
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)
