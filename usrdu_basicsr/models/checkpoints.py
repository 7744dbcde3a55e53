"""Resuming optimizers from a training state, and removing old checkpoints."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from usrdu_basicsr.utils.errors import InputError


def load_optimizer_states(optimizers: Sequence[torch.optim.Optimizer], states: Sequence[Mapping[str, Any]]) -> None:
    """Load optimizer states of any device, implementation (`fused`, `foreach`) and memory format.

    Raises:
        InputError: If one of checkpoint and run has a discriminator and the other has none.
    """
    if len(states) != len(optimizers):
        raise InputError(
            f'cannot resume: got {len(states)} optimizers in the training state, expected {len(optimizers)}. Either the'
            ' training state or this run has no discriminator (network_d)'
        )
    for optimizer, state in zip(optimizers, states, strict=True):
        # Before loading, because `fused` determines the device of the loaded step counts
        implementation = {key: optimizer.defaults[key] for key in ('fused', 'foreach')}
        optimizer.load_state_dict({**state, 'param_groups': [g | implementation for g in state['param_groups']]})
        for parameter, values in optimizer.state.items():
            for name, value in values.items():
                if isinstance(value, Tensor) and value.shape == parameter.shape:  # fused updates require its format
                    values[name] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)


def remove_old_checkpoints(
    models: Path, states: Path, current_iter: int, keep: int, best: Callable[[Iterable[int]], int | None]
) -> None:
    """Remove all checkpoints except the last `keep` ones and the best one.

    A checkpoint consists of `states/ITERATION.state` and `models/net_*_ITERATION.pth`. `net_*_latest.pth` and
    checkpoints after `current_iter`, which belong to another training, are left unchanged. `best` selects the best of
    some iterations, or returns None if it is unknown.
    """
    saved = sorted(int(path.stem) for path in states.glob('*.state') if path.stem.isdigit())
    saved = [iteration for iteration in saved if iteration <= current_iter]
    kept = {*saved[-keep:], best(saved)}
    for iteration in set(saved) - kept:  # states first, so that no state lacks its networks
        (states / f'{iteration}.state').unlink(missing_ok=True)
    for path in models.glob('net_*.pth'):
        match = re.fullmatch(r'net_.+_(\d+)', path.stem)
        if match and int(match[1]) <= current_iter and int(match[1]) not in kept:
            path.unlink(missing_ok=True)
