"""Resuming optimizers from a training state, and removing old checkpoints."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from usrdu_basicsr.utils.errors import InputError


def adapt_optimizer_states(
    states: Sequence[Mapping[str, Any]], optimizers: Sequence[torch.optim.Optimizer]
) -> list[dict[str, Any]]:
    """Adapt optimizer states of a checkpoint to the implementation (`fused`, `foreach`) of this run's optimizers.

    Raises:
        InputError: If one of checkpoint and run has a discriminator and the other has none.
    """
    if len(states) != len(optimizers):
        raise InputError(
            f'cannot resume: got {len(states)} optimizers in the training state, expected {len(optimizers)}. Either the'
            ' training state or this run has no discriminator (network_d)'
        )
    return [
        {
            **state,
            # `fused` also determines the device of the loaded step counts
            'param_groups': [
                group | {key: optimizer.defaults[key] for key in ('fused', 'foreach')}
                for group in state['param_groups']
            ],
        }
        for state, optimizer in zip(states, optimizers, strict=True)
    ]


def match_memory_format(optimizer: torch.optim.Optimizer) -> None:
    """Convert the state of an optimizer to the memory format of its parameters, as fused updates require."""
    for parameter, state in optimizer.state.items():
        for name, value in state.items():
            if isinstance(value, Tensor) and value.shape == parameter.shape:
                state[name] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)


def remove_old_checkpoints(
    models: Path, states: Path, current_iter: int, keep: int, best: Callable[[Iterable[int]], int | None]
) -> None:
    """Remove all checkpoints except the last `keep` ones and the best one.

    A checkpoint consists of `ITERATION.state` and `net_*_ITERATION.pth`. `net_*_latest.pth` and checkpoints after
    `current_iter`, which belong to another training, are left unchanged.

    Args:
        models: Folder of the networks.
        states: Folder of the training states.
        current_iter: Iteration that has just been saved.
        keep: Number of checkpoints to keep, at least 1.
        best: Function that selects the best of some iterations, or returns None if it is unknown.
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
