"""The gradient image that the stage 2 discriminator sees."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F


def gradient_image(x: Tensor) -> Tensor:
    """|dx| + |dy| of each channel by forward differences; the last column has no dx, the last row no dy.

    Args:
        x: `(N, C, H, W)`.

    Returns:
        `(N, C, H, W)`, from 0 to twice the range of `x`.
    """
    dx = F.pad((x[..., :, 1:] - x[..., :, :-1]).abs(), (0, 1, 0, 0))
    dy = F.pad((x[..., 1:, :] - x[..., :-1, :]).abs(), (0, 0, 0, 1))
    return dx + dy
