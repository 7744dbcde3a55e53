"""Select the device of a network."""

import os
from collections.abc import Mapping
from typing import Any

import torch

from usrdu_basicsr.utils.errors import InputError


def pick_device(name: str | None = None) -> torch.device:
    """Return the named device, by default a GPU if available; an InputError if torch cannot use it.

    Under torchrun `cuda` is the GPU of the local rank.
    """
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    name = name or ('cuda' if gpus else 'cpu')
    if name == 'cuda' and gpus:
        name = f'cuda:{int(os.environ.get("LOCAL_RANK", 0)) % gpus}'
    try:
        device = torch.device(name)
        if device.type != 'cuda':
            torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:  # depends on the device type
        raise InputError(f"device '{name}' is not available: expected cpu, cuda, cuda:1, ...") from error
    if device.type == 'cuda' and (device.index or 0) >= gpus:
        expected = ', '.join(['cpu', *(f'cuda:{index}' for index in range(gpus))])
        raise InputError(f"device '{name}' is not available: torch found {gpus} CUDA GPUs, expected {expected}")
    return device


def training_device(opt: Mapping[str, Any]) -> torch.device:
    """Device that BasicSR trains on with these options."""
    return torch.device('cuda' if opt['num_gpu'] else 'cpu')
