"""Set-up of the tests that run on each device: PyTorch's global settings are restored after each test."""

from collections.abc import Iterator

import pytest
import torch


@pytest.fixture(autouse=True)
def restored_backends() -> Iterator[None]:
    """Restore what `Precision.set_tf32` and the tests set for the whole process."""
    backends = torch.backends.cuda.matmul, torch.backends.cudnn
    before = [backend.allow_tf32 for backend in backends]
    yield
    for backend, value in zip(backends, before, strict=True):
        backend.allow_tf32 = value
    torch.use_deterministic_algorithms(False)
