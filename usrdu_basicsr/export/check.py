"""Compare an exported network with PyTorch's."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from usrdu_basicsr.export.errors import ExportError
from usrdu_basicsr.inference.probe import size_multiple

Run = Callable[[Tensor], Tensor]
SIZES = ((1, 17, 26), (2, 23, 14), (1, 9, 31))  # batch, height, width; raised to multiples that the network takes


def largest_difference(network: nn.Module, run: Run, tolerance: float, name: str) -> float:
    """Run random images of three sizes through both, and compare.

    Args:
        network: On the CPU, ready for inference.
        run: The exported network: `(N, 3, H, W)` float32, RGB, [0, 1], to `(N, 3, H * s, W * s)`.
        tolerance: The largest difference allowed between two values.
        name: Of the export, for the message.

    Returns:
        The largest difference found.

    Raises:
        ExportError: It exceeds the tolerance, or the results differ in shape or type.
    """
    multiple, random = size_multiple(network), torch.Generator().manual_seed(0)
    largest = 0.0
    for batch, *sides in SIZES:
        height, width = (math.ceil(side / multiple) * multiple for side in sides)
        x = torch.rand(batch, 3, height, width, generator=random)
        with torch.no_grad():
            expected, got = network(x), run(x)
        if (got.shape, got.dtype) != (expected.shape, expected.dtype):
            raise ExportError(
                f'{name} is not written: of {list(x.shape)} it makes {list(got.shape)} {got.dtype}, where PyTorch'
                f' makes {list(expected.shape)} {expected.dtype}; report this, with the versions of torch and {name}'
            )
        difference = (got - expected).abs().max().item()
        if not difference <= tolerance:  # so that not a number is refused too
            raise ExportError(
                f'{name} is not written: it differs from PyTorch by {difference:.3g} on {list(x.shape)}, expected at'
                f' most {tolerance:g}; are all weights finite? Otherwise report this, with the version of torch'
            )
        largest = max(largest, difference)
    return largest
