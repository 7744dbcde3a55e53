"""Communication between the ranks of a distributed training over gloo, independent of the GPUs' communication.

All ranks must call each function, in the same order. In a single process each function returns at once.
"""

import os
from functools import cache
from typing import Any, TypeVar

import torch
import torch.distributed as dist

Value = TypeVar('Value')


def is_single_process() -> bool:
    """Whether the training is not distributed."""
    return not (dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1)


@cache
def _gloo_group() -> Any:
    return dist.new_group(backend='gloo')


def any_rank(flag: bool) -> bool:
    """Whether `flag` is true on any rank."""
    if is_single_process():
        return flag
    flags = torch.tensor(int(flag))
    dist.all_reduce(flags, dist.ReduceOp.MAX, group=_gloo_group())
    return bool(flags)


def all_gather(value: Value) -> list[Value]:
    """Values of all ranks in the order of their ranks."""
    if is_single_process():
        return [value]
    values: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(values, value, group=_gloo_group())
    return values


def barrier() -> None:
    """Wait until every rank has called this function."""
    if not is_single_process():
        dist.barrier(group=_gloo_group())


def torchrun_rank() -> tuple[int, int]:
    """Rank and world size set by torchrun; (0, 1) in a process that torchrun did not start."""
    if 'TORCHELASTIC_RUN_ID' not in os.environ:  # job schedulers may set the other variables
        return 0, 1
    return int(os.environ.get('RANK', 0)), int(os.environ.get('WORLD_SIZE', 1))
