"""Draw LR images from the predicted distribution."""

from __future__ import annotations

import torch
from torch import Tensor


def sample_laplace(mean: Tensor, log_scale: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """A new LR image: `mean + Laplace(0, exp(log_scale)) / 255`.

    Args:
        mean: `(N, C, H, W)`, unit range.
        log_scale: The same shape: natural logarithm of the Laplace scale in 8-bit units.
        generator: On the device of `mean`; torch's default one if None.

    Returns:
        The shape of `mean`; not clipped.
    """
    # The difference of two unit exponentials is a unit Laplace, and unlike the inverse CDF it is never infinite.
    plus = torch.empty_like(mean).exponential_(generator=generator)
    minus = torch.empty_like(mean).exponential_(generator=generator)
    return mean + (plus - minus) * log_scale.exp() / 255
