"""The most memory that something has needed, on a GPU or in this process."""

import contextlib
import ctypes
import gc
from pathlib import Path

import torch


def start_memory(device: torch.device) -> float:
    """Megabytes in use; the peak is counted from here on."""
    gc.collect()
    if device.type == 'cuda':
        torch.cuda.reset_peak_memory_stats(device)
        return torch.cuda.memory_allocated(device) / 2**20
    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None).malloc_trim(0)  # else what the last way has freed would still count
        Path('/proc/self/clear_refs').write_text('5')
    return resident('VmRSS')


def peak_memory(device: torch.device) -> float:
    """Most megabytes in use since `start_memory`."""
    if device.type == 'cuda':
        return torch.cuda.max_memory_allocated(device) / 2**20
    return resident('VmHWM')


def resident(key: str) -> float:
    """Megabytes of this process under `key` (Linux)."""
    status = Path('/proc/self/status').read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith(key)) / 1024
