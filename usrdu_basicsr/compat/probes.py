"""Parts of the environment report that import torch or BasicSR; `doctor` runs each in its own process.

A broken library can end a process, and its import can raise anything. The process then reports that.
"""

import os
import platform
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

GIB = 1 << 30


def devices() -> dict[str, str]:
    """CPU and GPUs with their memory and number formats."""
    import torch

    from usrdu_basicsr.utils.memory import free_memory

    cpu = torch.device('cpu')
    report = {
        'cpu': f'{cpu_model()}, {os.cpu_count()} cores, {torch.get_num_threads()} threads, {_precisions(cpu)}',
        'free memory': f'{(free_memory(cpu) or 0) / GIB:.1f} GiB',
        'cuda': f'{torch.version.cuda or "not in this build of torch"}',
    }
    for index in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        device, gpu = torch.device('cuda', index), torch.cuda.get_device_properties(index)
        report[f'cuda:{index}'] = (
            f'{gpu.name}, compute capability {gpu.major}.{gpu.minor}, {gpu.total_memory / GIB:.1f} GiB,'
            f' {(free_memory(device) or 0) / GIB:.1f} GiB free, {_precisions(device)}'
        )
    mps = torch.backends.mps.is_available()
    report['mps'] = f'available, {_precisions(torch.device("mps"))}' if mps else 'not available'
    return report


def _precisions(device: 'torch.device') -> str:
    from usrdu_basicsr.utils.errors import InputError
    from usrdu_basicsr.utils.precision import PRECISIONS, Precision

    supported = []
    for name in PRECISIONS:
        try:
            Precision(name, device)
        except InputError:
            continue
        supported.append(name)
    return '/'.join(supported)


def cpu_model() -> str:
    """Name of the processor."""
    info = Path('/proc/cpuinfo')
    for line in info.read_text().splitlines() if info.is_file() else ():
        name, _, value = line.partition(':')
        if name.strip() == 'model name':
            return value.strip()
    return platform.processor() or platform.machine()


def basicsr() -> dict[str, str]:
    """Location and registration of BasicSR, state of the patches, and weights of the perceptual losses."""
    from usrdu_basicsr.compat import basicsr_patches, dist_patches, registration
    from usrdu_basicsr.compat.patching import patch_states

    registration.register()
    registry = import_module('basicsr.utils.registry').MODEL_REGISTRY
    registered = all(name in registry for name in ('UncertaintyDSNModel', 'GradientGANModel'))
    report = {'registered': 'yes' if registered else 'no'}
    for state in patch_states((*basicsr_patches.PATCHES, *dist_patches.PATCHES)):
        report[f'patch {state.name}'] = f'{"active" if state.active else "not needed"}. {state.reason}'
    report['VGG19 weights'] = _vgg19()
    return report


def _vgg19() -> str:
    from usrdu_basicsr.utils.pretrained_features import cached_weights_path

    path = cached_weights_path('vgg19')
    return str(path) if path.is_file() else f"not downloaded yet: the first training writes '{path}'"
