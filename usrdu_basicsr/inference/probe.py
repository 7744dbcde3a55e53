"""What images an SR network takes and makes, learned by running it once on a small one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from basicsr.archs.rrdbnet_arch import RRDBNet
from torch import Tensor, nn

from usrdu_basicsr.inference.load_network import scale_of
from usrdu_basicsr.utils.errors import InputError, first_line

SIDE = 32
# What else is held while the largest layer runs: features that later layers add, the convolution's own work space
FACTOR = 2


def size_multiple(network: nn.Module) -> int:
    """What the height and the width of an input must be multiples of."""
    if isinstance(network, RRDBNet):
        return {2: 2, 1: 4}.get(network.scale, 1)  # it folds 2x2 and 4x4 pixels into channels
    windows = (getattr(module, 'window_size', 1) for module in network.modules())  # of the attention of SwinIR
    return max(window for window in windows if isinstance(window, int))


def probe(run: Callable[[Tensor], Tensor], network: nn.Module, device: torch.device) -> tuple[int, int]:
    """How much an SR network enlarges, and the memory that it needs for that.

    Args:
        run: Calls the network.
        network: Looked at while it runs.
        device: Where it is.

    Returns:
        Scale, and bytes for each pixel of the input.

    Raises:
        InputError: The network does not take RGB images, does not enlarge them by a whole number, or not by the scale
            that it says it has.
    """
    most = 0
    side = -(-SIDE // size_multiple(network)) * size_multiple(network)
    name, expected = type(network).__name__, f'expected an SR network for RGB images, (N, 3, H, W), here of {side} each'

    def look(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        nonlocal most
        tensors = [each for each in (*inputs, output) if isinstance(each, Tensor)]
        most = max(most, sum(each.numel() * each.element_size() for each in tensors))

    hooks = [module.register_forward_hook(look) for module in network.modules() if not list(module.children())]
    try:
        with torch.inference_mode():
            y = run(torch.zeros(1, 3, side, side, device=device))
    except (RuntimeError, ValueError) as error:
        raise InputError(f'{name} cannot upscale ({first_line(error)}): {expected}') from error
    finally:
        for hook in hooks:
            hook.remove()
    if not isinstance(y, Tensor) or y.ndim != 4:
        raise InputError(f'{name} makes a {type(y).__name__} that is no image: {expected}')
    scale = y.shape[-1] // side
    if scale < 1 or y.shape != (1, 3, side * scale, side * scale):
        raise InputError(f'{name} makes {list(y.shape)} of [1, 3, {side}, {side}]: {expected}')
    if scale_of(network) not in (None, scale):
        raise InputError(f'{name} of scale {scale_of(network)} enlarges {scale} times: mend its options')
    return scale, FACTOR * most // side**2
