"""The processes of a distributed training, of which this may be one: agree, collect, wait for each other.

What they tell each other here goes through the CPUs (gloo), beside what their GPUs exchange and without waiting for it.
Every function must be called by all ranks, in the same order. Alone, each is free.
"""

from __future__ import annotations

import os
from functools import cache
from typing import Any, TypeVar

import torch
import torch.distributed as dist

Value = TypeVar('Value')


def is_single_process() -> bool:
    """Whether this process trains by itself."""
    return not (dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1)


@cache
def _group() -> Any:
    return dist.new_group(backend='gloo')


def any_rank(flag: bool) -> bool:
    """Whether `flag` is true on any rank."""
    if is_single_process():
        return flag
    flags = torch.tensor(int(flag))
    dist.all_reduce(flags, dist.ReduceOp.MAX, group=_group())
    return bool(flags)


def all_gather(value: Value) -> list[Value]:
    """The values of all ranks, by rank."""
    if is_single_process():
        return [value]
    values: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(values, value, group=_group())
    return values


def barrier() -> None:
    """Return once every rank has come here."""
    if not is_single_process():
        dist.barrier(group=_group())


def torchrun_share() -> tuple[int, int]:
    """This process's rank and how many there are; (0, 1) where torchrun did not start it."""
    if 'TORCHELASTIC_RUN_ID' not in os.environ:  # a scheduler may set the others for purposes of its own
        return 0, 1
    return int(os.environ.get('RANK', 0)), int(os.environ.get('WORLD_SIZE', 1))
