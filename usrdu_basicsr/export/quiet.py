"""Keep to themselves what torch's exporters log about their own work."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

# The least that is shown. onnx_ir and onnxscript tell each step of simplifying; torch's warnings are of the sizes that
# it tried, and of operators of torchvision. What is exported is compared with PyTorch all the same.
LEVELS = {
    'onnx_ir': logging.WARNING,
    'onnxscript': logging.WARNING,
    'torch.fx.experimental.symbolic_shapes': logging.ERROR,
    'torch.onnx._internal.exporter._schemas': logging.ERROR,
}


@contextmanager
def quiet_exporters() -> Iterator[None]:
    """Raise the levels of the exporters' loggers within a block."""
    before = {name: logging.getLogger(name).level for name in LEVELS}
    try:
        for name, level in LEVELS.items():
            logging.getLogger(name).setLevel(level)
        yield
    finally:
        for name, level in before.items():
            logging.getLogger(name).setLevel(level)
