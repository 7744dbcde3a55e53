"""Choice and report of the device, and its free memory."""

import pytest
import torch

from usrdu_basicsr.compat.probes import devices
from usrdu_basicsr.utils.device import pick_device, training_device
from usrdu_basicsr.utils.errors import InputError
from usrdu_basicsr.utils.memory import free_memory

GIB = 1 << 30


def test_picked_device_computes(device: torch.device):
    picked = pick_device(device.type)
    assert picked.type == device.type and (torch.ones(3, device=picked) + 1).tolist() == [2, 2, 2]
    assert training_device({'num_gpu': int(device.type == 'cuda')}) == device
    with pytest.raises(InputError, match="device 'cuda:99' is not available"):
        pick_device('cuda:99')


@pytest.mark.cuda
def test_gpu_is_the_default(monkeypatch: pytest.MonkeyPatch):
    assert pick_device() == torch.device('cuda:0')
    monkeypatch.setenv('LOCAL_RANK', str(torch.cuda.device_count() + 1))  # more processes than GPUs
    assert pick_device('cuda').index == 1 % torch.cuda.device_count()


@pytest.mark.cuda
def test_free_memory_shrinks_by_what_is_allocated():
    """Other processes may use the GPU at the same time, so the block is large and the bound is half of it."""
    device = torch.device('cuda')
    before = free_memory(device)
    block = torch.empty(2 * GIB, dtype=torch.uint8, device=device)
    during = free_memory(device)
    del block  # stays in the cache of PyTorch, which can allocate it again
    after = free_memory(device)
    assert before - during > GIB and after - during > GIB


def test_report_names_every_device(device: torch.device):
    report = devices()
    if device.type == 'cuda':
        for index in range(torch.cuda.device_count()):
            assert report[f'cuda:{index}'].startswith(f'{torch.cuda.get_device_name(index)}, compute capability ')
            assert 'fp32' in report[f'cuda:{index}'] and 'fp16' in report[f'cuda:{index}']
    else:
        assert 'threads, fp32' in report['cpu']
