"""Choosing the device of a network."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import torch

from usrdu_basicsr.utils.errors import InputError


def pick_device(name: str | None = None) -> torch.device:
    """The named device, or the GPU if there is one: under torchrun, each process of a machine another one.

    Raises:
        InputError: There is no such device.
    """
    try:
        device = torch.device(_device_name(name))
        if device.type != 'cuda':
            torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:  # by the kind of device
        raise InputError(f"device '{name}': torch cannot use it here; expected cpu, cuda, cuda:1, ...") from error
    if device.type == 'cuda' and (device.index or 0) >= torch.cuda.device_count():
        raise InputError(f"device '{name}': torch can use {torch.cuda.device_count()} CUDA GPUs here; choose cpu")
    return device


def _device_name(name: str | None) -> str:
    name = name or ('cuda' if torch.cuda.is_available() else 'cpu')
    if name != 'cuda' or not torch.cuda.is_available():
        return name
    return f'cuda:{int(os.environ.get("LOCAL_RANK", 0)) % torch.cuda.device_count()}'


def device_of(opt: Mapping[str, Any]) -> torch.device:
    """Where BasicSR will train with these options."""
    return torch.device('cuda' if opt['num_gpu'] else 'cpu')
