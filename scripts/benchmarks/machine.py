"""Hardware, versions and supported number formats of the machine that a benchmark runs on. Prints them as JSON."""

import argparse
import json
import os
import platform
from collections.abc import Iterable
from typing import Any

import torch

from usrdu_basicsr import __version__
from usrdu_basicsr.cli.command_line import add_device, run_script
from usrdu_basicsr.compat.probes import cpu_model
from usrdu_basicsr.utils.device import pick_device
from usrdu_basicsr.utils.errors import InputError
from usrdu_basicsr.utils.precision import Precision


def describe(device: torch.device) -> dict[str, Any]:
    """Hardware and versions that figures depend on."""
    machine = {
        'device': device_name(device),
        'cpu': cpu_model(),
        'cores': os.cpu_count(),
        'python': platform.python_version(),
        'torch': torch.__version__,
        'usrdu_basicsr': __version__,
    }
    if device.type == 'cuda':
        gpu = torch.cuda.get_device_properties(device)
        machine['gpus'] = torch.cuda.device_count()
        machine['compute capability'] = f'{gpu.major}.{gpu.minor}'
        machine['memory'] = f'{gpu.total_memory / 2**30:.1f} GiB'
        machine['cuda'], machine['cudnn'] = torch.version.cuda, torch.backends.cudnn.version()
    return machine


def device_name(device: torch.device) -> str:
    """Name of a GPU; name, instructions and threads of a CPU."""
    if device.type == 'cuda':
        return torch.cuda.get_device_name(device)
    return f'{cpu_model()} with {torch.backends.cpu.get_cpu_capability()}, {torch.get_num_threads()} threads'


def supported(precisions: Iterable[str], device: torch.device) -> list[str]:
    """Select the number formats that the device supports, and print why others are skipped."""
    names = []
    for name in dict.fromkeys(precisions):
        try:
            Precision(name, device)
            names.append(name)
        except InputError as error:
            print(f'skipped {name}: {error}')
    return names


def main() -> int:
    """Run the script."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_device(parser)
    print(json.dumps(describe(pick_device(parser.parse_args().device))))
    return 0


if __name__ == '__main__':
    run_script(main)
