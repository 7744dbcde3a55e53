"""PyTorch's own format of a network with its operations, which needs no source of it."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping

import torch
from torch import Tensor
from torch.export import ExportedProgram

from usrdu_basicsr.export.check import Run
from usrdu_basicsr.export.errors import ExportError, cannot_run

METADATA = 'metadata.json'


def to_torch_export(program: ExportedProgram, metadata: Mapping[str, str]) -> bytes:
    """A file of `torch.export.save`, with the metadata in its extra file `metadata.json`."""
    buffer = io.BytesIO()
    torch.export.save(program, buffer, extra_files={METADATA: json.dumps(dict(metadata))})
    return buffer.getvalue()


def run_torch_export(data: bytes) -> Run:
    """A file of `torch.export.save`, loaded; it raises an `ExportError` where it takes no image of a size."""
    network = torch.export.load(io.BytesIO(data)).module()

    def run(x: Tensor) -> Tensor:
        try:
            return network(x)
        except (RuntimeError, AssertionError) as error:
            raise ExportError(cannot_run('pt2', x, error)) from error

    return run
