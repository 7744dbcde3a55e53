"""Shared by all tests: the plugin is registered, Python's, NumPy's and torch's random numbers start alike."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch

import usrdu_basicsr

usrdu_basicsr.register()


@pytest.fixture(autouse=True)
def seeded():
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)
