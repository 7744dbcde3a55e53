"""Weaker results: between bicubic upscaling, or an earlier network, and a network."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from usrdu_basicsr.utils.errors import InputError


def check_strength(strength: float) -> None:
    """Raise an InputError unless the strength is from 0 to 1."""
    if not 0 <= strength <= 1:  # also true for NaN
        raise InputError(f'strength: got {strength}, expected a number from 0 to 1')


def with_strength(run: Callable[[Tensor], Tensor], scale: int, strength: float) -> Callable[[Tensor], Tensor]:
    """Interpolate between bicubic upscaling, as OpenCV's, and `run`.

    Args:
        run: SR network: `(N, C, H, W)` to `(N, C, H * scale, W * scale)`.
        scale: Scale of the network.
        strength: 0 for bicubic upscaling, 1 for `run`.
    """

    def interpolate(x: Tensor) -> Tensor:
        bicubic = F.interpolate(x.float(), scale_factor=scale, mode='bicubic', align_corners=False)
        return torch.lerp(bicubic, run(x).float(), strength)

    return interpolate


def interpolate_weights(network: nn.Module, base: nn.Module, strength: float) -> None:
    """Move the weights of a network towards those of the one that its training started from.

    ("Deep Network Interpolation for Continuous Imagery Effect Transition", CVPR 2019.)

    Args:
        network: SR network, which is changed.
        base: Network of the same architecture.
        strength: 0 for `base`, 1 for `network`.

    Raises:
        InputError: If the architectures differ, or the strength is invalid.
    """
    check_strength(strength)
    weights, others = network.state_dict(), base.state_dict()
    if [(name, value.shape) for name, value in weights.items()] != [(k, v.shape) for k, v in others.items()]:
        got, expected = type(base).__name__, type(network).__name__
        raise InputError(f'base: got {got} of other weights than the model, expected {expected} with the same weights')
    for name, value in weights.items():
        if value.is_floating_point():
            value.copy_(torch.lerp(others[name].to(value), value, strength))
