"""The processes of a distributed training, of which this may be one: agree, collect, wait for each other.

What they tell each other here goes through the CPUs (gloo), beside what their GPUs exchange and without waiting for it.
Every function must be called by all ranks, in the same order. Alone, each is free.
"""

from __future__ import annotations

from functools import cache
from typing import Any, TypeVar

import torch
import torch.distributed as dist

Value = TypeVar('Value')


def alone() -> bool:
    """Whether this process trains by itself."""
    return not (dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1)


@cache
def _group() -> Any:
    return dist.new_group(backend='gloo')


def any_rank(flag: bool) -> bool:
    """Whether `flag` is true on any rank."""
    if alone():
        return flag
    flags = torch.tensor(int(flag))
    dist.all_reduce(flags, dist.ReduceOp.MAX, group=_group())
    return bool(flags)


def collect(value: Value) -> list[Value]:
    """The values of all ranks, by rank."""
    if alone():
        return [value]
    values: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(values, value, group=_group())
    return values


def wait_for_all() -> None:
    """Return once every rank has come here."""
    if not alone():
        dist.barrier(group=_group())
