"""Input constraints, scale and memory use of an SR network, measured with a small test image."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from basicsr.archs.rrdbnet_arch import RRDBNet
from torch import Tensor, nn

from usrdu_basicsr.inference.load_network import scale_of
from usrdu_basicsr.utils.errors import InputError, first_line

TEST_SIDE = 32
# Memory beyond the largest layer: features kept for later layers, workspace of the convolution
MEMORY_FACTOR = 2


def size_multiple(network: nn.Module) -> int:
    """Number that the input height and width of an SR network must be multiples of."""
    if isinstance(network, RRDBNet):
        return {2: 2, 1: 4}.get(network.scale, 1)  # pixel unshuffle of 2x2 or 4x4 pixels
    windows = (getattr(module, 'window_size', 1) for module in network.modules())  # attention windows of SwinIR
    return max(window for window in windows if isinstance(window, int))


def probe(run: Callable[[Tensor], Tensor], network: nn.Module, device: torch.device) -> tuple[int, int]:
    """Measure the scale and the memory use of an SR network.

    Args:
        run: Function that calls the network.
        network: The network, whose layers are observed.
        device: Device of the network.

    Returns:
        Scale, and bytes of memory for each input pixel.

    Raises:
        InputError: If the network does not take RGB images, does not upscale them by an integer, or upscales them by
            another factor than its scale attribute says.
    """
    largest = 0
    multiple = size_multiple(network)
    side = -(-TEST_SIDE // multiple) * multiple
    name = type(network).__name__
    expected = f'expected an SR network for RGB images, (N, 3, H, W), tested on {side}x{side} pixels'

    def measure(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        nonlocal largest
        tensors = [value for value in (*inputs, output) if isinstance(value, Tensor)]
        largest = max(largest, sum(tensor.nbytes for tensor in tensors))

    hooks = [module.register_forward_hook(measure) for module in network.modules() if not list(module.children())]
    try:
        with torch.inference_mode():
            y = run(torch.zeros(1, 3, side, side, device=device))
    except (RuntimeError, ValueError) as error:
        raise InputError(f'{name} cannot upscale a test image ({first_line(error)}): {expected}') from error
    finally:
        for hook in hooks:
            hook.remove()
    scale = y.shape[-1] // side if isinstance(y, Tensor) and y.ndim == 4 else 0
    if not scale or y.shape != (1, 3, side * scale, side * scale):
        result = f'shape {list(y.shape)}' if isinstance(y, Tensor) else f'a {type(y).__name__}'
        raise InputError(f'{name} returns {result} for shape [1, 3, {side}, {side}]: {expected}')
    if scale_of(network) not in (None, scale):
        raise InputError(f'{name}: scale is {scale_of(network)}, but it upscales {scale} times. Correct its options')
    return scale, MEMORY_FACTOR * largest // side**2
