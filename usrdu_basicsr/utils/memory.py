"""Free memory of a device, and malloc tuning of the process."""

import ctypes
import errno
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import torch

CGROUP = Path('/sys/fs/cgroup')
KEPT_BYTES = 1 << 30
LARGEST_BLOCK = 32 << 20  # bytes, the maximum of glibc
# Messages of PyTorch, oneDNN, cuDNN and cuBLAS about a lack of memory that is not an `OutOfMemoryError`
OUT_OF_MEMORY = (
    *("can't allocate memory", 'Cannot allocate memory', 'could not create a primitive', 'could not create a memory'),
    *('unable to find an engine', 'CUDNN_STATUS_ALLOC_FAILED', 'CUBLAS_STATUS_ALLOC_FAILED'),
)
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # parameters of mallopt, from glibc's malloc.h


def free_memory(device: torch.device) -> int | None:
    """Memory that this process can still allocate on a device.

    On a CPU this is the minimum of the system's available memory, the limit of the control group (containers) and the
    limits of `ulimit -v` and `ulimit -d`.

    Returns:
        Bytes; None for device types other than `cpu` and `cuda`.
    """
    if device.type == 'cuda':
        cached = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + cached
    return max(min(_free_cpu_memory()), 0) if device.type == 'cpu' else None


def _free_cpu_memory() -> Iterator[int]:
    yield psutil.virtual_memory().available
    try:
        limit, used = ((CGROUP / f'memory.{name}').read_text().strip() for name in ('max', 'current'))
    except OSError:  # no control group of version 2
        pass
    else:
        if limit != 'max':
            yield int(limit) - int(used)
    process = psutil.Process()
    if hasattr(process, 'rlimit'):  # Linux and FreeBSD
        memory = process.memory_info()
        for resource, size in ((psutil.RLIMIT_AS, memory.vms), (psutil.RLIMIT_DATA, memory.data)):
            soft_limit, _ = process.rlimit(resource)
            if soft_limit != psutil.RLIM_INFINITY:
                yield soft_limit - size


def is_out_of_memory(error: BaseException | None) -> bool:
    """Whether an error means that the memory of the computer or of a GPU is exhausted."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    return isinstance(error, RuntimeError) and any(text in str(error) for text in OUT_OF_MEMORY)


def tune_malloc() -> None:
    """Let glibc keep up to 1 GiB of freed memory for the rest of the process; no effect with other C libraries.

    By default glibc returns large blocks to the system, and training spent a sixth of its time on page faults when it
    allocated them again. See mallopt(3).
    """
    if sys.platform != 'linux':
        return
    mallopt = getattr(ctypes.CDLL(None), 'mallopt', None)
    if mallopt is not None:
        mallopt(M_TRIM_THRESHOLD, KEPT_BYTES)
        mallopt(M_MMAP_THRESHOLD, LARGEST_BLOCK)
