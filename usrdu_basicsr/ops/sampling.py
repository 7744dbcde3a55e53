"""Draw LR images from the predicted distribution."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def step_generator(device: torch.device, seed: int, rank: int, step: int) -> torch.Generator:
    """A generator whose stream depends on seed, rank and training step alone.

    A resumed run therefore draws what the uninterrupted one would have drawn, and no state has to be saved.

    Args:
        device: Where the numbers are drawn.
        seed: The run's `manual_seed`.
        rank: Of this process.
        step: Training iteration.

    Returns:
        A freshly seeded generator.
    """
    # CPU generators use 32 bits of a seed: mix the three into those instead of adding, which would repeat streams.
    mixed = int(np.random.SeedSequence((seed, rank, step)).generate_state(1)[0])
    return torch.Generator(device=device).manual_seed(mixed)


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
