"""Set-up of all tests: registers the plugin and seeds the random numbers of Python, NumPy and torch."""

import random
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from basicsr.utils import options

import usrdu_basicsr

usrdu_basicsr.register()
# A shell ignores SIGINT in background jobs, and the processes of the tests would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_runtest_setup(item: pytest.Item):
    """Skip tests marked `cuda` on machines with too few GPUs."""
    if (marker := item.get_closest_marker('cuda')) is not None:
        needed, found = marker.kwargs.get('count', 1), torch.cuda.device_count()
        if found < needed:
            pytest.skip(f'needs {needed} CUDA GPU{"s" * (needed > 1)}, torch finds {found}')


@pytest.fixture(params=['cpu', pytest.param('cuda', marks=pytest.mark.cuda)])
def device(request: pytest.FixtureRequest) -> torch.device:
    """Each device in turn: the test runs on a CPU and, marked `cuda`, on a GPU."""
    return torch.device(request.param)


@pytest.fixture
def bf16_everywhere(monkeypatch: pytest.MonkeyPatch):
    """Allow bf16 on every CPU. Results are correct, but slow to compute, without bf16 instructions."""
    monkeypatch.setattr(torch.ops.mkldnn, '_is_mkldnn_bf16_supported', lambda: True)


@pytest.fixture(autouse=True)
def seeded():
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)


@pytest.fixture
def parse(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict]:
    """Function that parses and checks options as a launcher does, in a folder of the test."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, 'excepthook', sys.excepthook)

    def parse(opt: dict, is_train: bool = True, arguments: tuple[str, ...] = ()) -> dict:
        Path('run.yml').write_text(yaml.safe_dump(opt))
        monkeypatch.setattr(sys, 'argv', ['train.py', '-opt', 'run.yml', *arguments])
        return options.parse_options(str(tmp_path), is_train)[0]

    return parse
