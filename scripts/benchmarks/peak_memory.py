"""Peak memory of a GPU or of this process."""

import contextlib
import ctypes
import gc
from pathlib import Path

import torch


def start_memory(device: torch.device) -> float:
    """Return the megabytes in use and restart the peak measurement."""
    gc.collect()
    if device.type == 'cuda':
        torch.cuda.reset_peak_memory_stats(device)
        return torch.cuda.memory_allocated(device) / 2**20
    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None).malloc_trim(0)  # otherwise freed memory of the previous measurement counts
        Path('/proc/self/clear_refs').write_text('5')
    return resident('VmRSS')


def peak_memory(device: torch.device) -> float:
    """Return the peak in megabytes since `start_memory`."""
    if device.type == 'cuda':
        return torch.cuda.max_memory_allocated(device) / 2**20
    return resident('VmHWM')


def resident(key: str) -> float:
    """Return the megabytes of this process under `key` of /proc/self/status (Linux)."""
    status = Path('/proc/self/status').read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith(key)) / 1024
