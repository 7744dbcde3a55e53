"""Export with `torch.export`: PyTorch's format of a network and its operations, which needs no source code."""

import io
import json
from collections.abc import Mapping

import torch
from torch import nn
from torch.export import Dim, ExportedProgram

from usrdu_basicsr.export.check import ExportError, Run, report_failure
from usrdu_basicsr.inference.load_network import size_multiple
from usrdu_basicsr.utils.errors import first_line

OLDEST_TORCH = '2.6'  # 2.4 cannot reload networks that upscale images of any size; 2.5 is untested


def trace(network: nn.Module) -> ExportedProgram:
    """Record the operations and weights of a network for any batch size, height and width.

    Args:
        network: Network on the CPU, prepared for inference, for images `(N, 3, H, W)`.

    Raises:
        ExportError: If the operations depend on the image size in a way that torch cannot record.
    """
    multiple = size_multiple(network)
    # At least 2 multiples, because torch specialises a side of 1.
    height, width = (Dim(side, min=2) if multiple == 1 else multiple * Dim(side, min=2) for side in ('height', 'width'))
    image = torch.zeros(2, 3, 8 * multiple, 12 * multiple)
    shapes = ({0: Dim('batch'), 2: height, 3: width},)
    try:
        program = torch.export.export(network, (image,), dynamic_shapes=shapes, strict=False)
    except RuntimeError as error:
        raise ExportError(
            f'torch {torch.__version__} cannot record {type(network).__name__} for images of any size'
            f' ({first_line(error)}). Choose --format safetensors'
        ) from error
    for node in program.graph.nodes:
        node.meta.pop('stack_trace', None)  # contains paths of this machine
    return program


def to_torch_export(program: ExportedProgram, metadata: Mapping[str, str]) -> bytes:
    """Serialise with `torch.export.save`; the metadata is the extra file `metadata.json`."""
    buffer = io.BytesIO()
    torch.export.save(program, buffer, extra_files={'metadata.json': json.dumps(dict(metadata))})
    return buffer.getvalue()


def run_torch_export(data: bytes) -> Run:
    """Load a file of `torch.export.save`. The function raises `ExportError` for inputs that the program refuses."""
    network = torch.export.load(io.BytesIO(data)).module()
    return report_failure('pt2', network, (RuntimeError, AssertionError))
