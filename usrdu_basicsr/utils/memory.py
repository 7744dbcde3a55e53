"""How much memory a device has left for this process."""

from __future__ import annotations

import os
from pathlib import Path

import torch


def free_memory(device: torch.device) -> int | None:
    """Bytes that this process can still take on a device, or None where that cannot be told.

    On a CPU the least of what the system has, what its control group may have (containers), and what `ulimit -v` and
    `ulimit -d` leave.
    """
    if device.type == 'cuda':
        reserved = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + reserved
    if device.type != 'cpu':
        return None
    known = [value for value in (_of_system(), _of_control_group(), _of_process()) if value is not None]
    return max(min(known), 0) if known else None


def _of_system() -> int | None:
    available = _field(Path('/proc/meminfo'), 'MemAvailable:')
    if available is not None or not hasattr(os, 'sysconf') or 'SC_AVPHYS_PAGES' not in os.sysconf_names:
        return available
    return os.sysconf('SC_AVPHYS_PAGES') * os.sysconf('SC_PAGE_SIZE')


def _of_control_group() -> int | None:
    folder = Path('/sys/fs/cgroup')
    try:
        limit, used = ((folder / f'memory.{name}').read_text().strip() for name in ('max', 'current'))
    except OSError:
        return None
    return int(limit) - int(used) if limit.isdigit() else None


def _of_process() -> int | None:
    try:
        import resource
    except ImportError:  # Windows
        return None
    left = []
    for kind, name in ((resource.RLIMIT_AS, 'VmSize:'), (resource.RLIMIT_DATA, 'VmData:')):
        limit, used = resource.getrlimit(kind)[0], _field(Path('/proc/self/status'), name)
        if limit != resource.RLIM_INFINITY and used is not None:
            left.append(limit - used)
    return min(left, default=None)


def _field(path: Path, name: str) -> int | None:
    """Bytes that a line of a file in `/proc` tells, in kB there."""
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(name)), None)
