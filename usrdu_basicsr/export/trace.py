"""Record what a network computes, for any batch, height and width."""

from __future__ import annotations

import torch
from torch import nn
from torch.export import Dim, ExportedProgram

from usrdu_basicsr.export.errors import ExportError
from usrdu_basicsr.inference.probe import size_multiple
from usrdu_basicsr.utils.errors import first_line

# Older ones cannot load again what enlarges an image of any size (2.4), or were not tried (2.5).
OLDEST_TORCH = '2.6'


def trace(network: nn.Module) -> ExportedProgram:
    """The operations and weights of a network.

    Args:
        network: On the CPU, ready for inference; takes `(N, 3, H, W)`.

    Raises:
        ExportError: What it does depends on the image's size in ways that cannot be recorded.
    """
    multiple = size_multiple(network)
    # Of folded pixels there must be two, as torch takes a side of 1 for another case.
    height, width = (Dim(side, min=2) if multiple == 1 else multiple * Dim(side, min=2) for side in ('height', 'width'))
    image = torch.zeros(2, 3, 8 * multiple, 12 * multiple)
    shapes = ({0: Dim('batch'), 2: height, 3: width},)
    try:
        program = torch.export.export(network, (image,), dynamic_shapes=shapes, strict=False)
    except RuntimeError as error:
        raise ExportError(
            f'torch {torch.__version__} cannot record {type(network).__name__} for images of any size'
            f' ({first_line(error)}): choose --format safetensors'
        ) from error
    for node in program.graph.nodes:
        node.meta.pop('stack_trace', None)  # holds paths of this machine
    return program
