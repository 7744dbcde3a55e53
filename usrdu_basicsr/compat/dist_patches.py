"""Patches of distributed training in BasicSR 1.4.2 for machines without a GPU; see `basicsr_patches`."""

import atexit
import gc
import os
import subprocess
from collections.abc import Callable
from importlib import import_module
from typing import Any

import torch
from torch import nn

from usrdu_basicsr.compat.basicsr_patches import uses
from usrdu_basicsr.compat.patching import apply_patches


def apply() -> None:
    """Apply the patches."""
    apply_patches(PATCHES)


def _init_dist_without_gpu() -> bool:
    """Make `init_dist` use gloo on a machine without a GPU; with GPUs it is unchanged.

    Without it, `init_dist` divides by the number of GPUs and uses NCCL. Needed if its functions call
    `cuda.set_device`. Can be removed when BasicSR chooses the backend by the machine.
    """
    dist_util = import_module('basicsr.utils.dist_util')
    applied = False
    for name, on_cpu in (('_init_dist_pytorch', _init_gloo), ('_init_dist_slurm', _init_gloo_by_slurm)):
        on_gpu = getattr(dist_util, name, None)
        if on_gpu is not None and uses(on_gpu, 'set_device'):
            setattr(dist_util, name, _select_by_device(on_gpu, on_cpu))
            applied = True
    return applied


def _select_by_device(on_gpu: Callable[..., None], on_cpu: Callable[..., None]) -> Callable[..., None]:
    # Evaluated at the call, as `is_available` initialises the CUDA driver.
    def initialise(*args: Any, **kwargs: Any) -> None:
        (on_gpu if torch.cuda.is_available() else on_cpu)(*args, **kwargs)

    return initialise


def _init_gloo(backend: str, **kwargs: Any) -> None:
    backend = 'gloo' if backend == 'nccl' else backend
    torch.distributed.init_process_group(backend=backend, **kwargs)
    atexit.register(_end_group)


def _end_group() -> None:
    """End the process group, which BasicSR leaves to the interpreter.

    Threads of gloo that outlive it abort some finished processes ("terminate called without an active exception").
    Networks keep the group alive, also those that only the garbage collector frees.
    """
    gc.collect()
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def _init_gloo_by_slurm(backend: str, port: int | None = None) -> None:
    # The same variables as in BasicSR, set from those of Slurm.
    hosts = subprocess.check_output(['scontrol', 'show', 'hostname', os.environ['SLURM_NODELIST']], text=True)
    if port is not None:
        os.environ['MASTER_PORT'] = str(port)
    os.environ.setdefault('MASTER_PORT', '29500')
    os.environ['MASTER_ADDR'] = hosts.split()[0]
    os.environ['WORLD_SIZE'] = os.environ['SLURM_NTASKS']
    os.environ['RANK'] = os.environ['SLURM_PROCID']
    os.environ['LOCAL_RANK'] = os.environ.get('SLURM_LOCALID', '0')
    _init_gloo(backend)


def _distribute_without_gpu() -> bool:
    """Make `BaseModel.model_to_device` distribute a network on the CPU.

    Without it, DistributedDataParallel receives CUDA's current device. Needed if the method uses
    `cuda.current_device`. Can be removed when BasicSR omits `device_ids` on the CPU.
    """
    base_model = import_module('basicsr.models.base_model').BaseModel
    original = base_model.model_to_device
    if not uses(original, 'current_device'):
        return False

    def model_to_device(self: Any, net: nn.Module) -> nn.Module:
        if self.device.type != 'cpu' or not self.opt['dist']:
            return original(self, net)
        find_unused = self.opt.get('find_unused_parameters', False)
        return nn.parallel.DistributedDataParallel(net.to(self.device), find_unused_parameters=find_unused)

    base_model.model_to_device = model_to_device
    return True


PATCHES = (_init_dist_without_gpu, _distribute_without_gpu)
