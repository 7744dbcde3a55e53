"""The weights alone, for programs that know the architecture."""

from __future__ import annotations

import copy
from collections.abc import Mapping

import torch
from torch import nn

from usrdu_basicsr.export.check import Run


def to_safetensors(network: nn.Module, metadata: Mapping[str, str]) -> bytes:
    """A safetensors file: the bare state dict under BasicSR's names, float32; the metadata, and `format: pt`."""
    from safetensors.torch import save

    # Copies, because tensors must not share memory in such a file.
    weights = {
        name: (value.float() if value.is_floating_point() else value).clone(memory_format=torch.contiguous_format)
        for name, value in network.state_dict().items()
    }
    return save(weights, {'format': 'pt', **metadata})


def run_safetensors(data: bytes, network: nn.Module) -> Run:
    """A copy of a network, with the weights of a safetensors file."""
    from safetensors.torch import load

    loaded = copy.deepcopy(network)
    loaded.load_state_dict(load(data))
    return loaded
