"""Laplace distribution: divergence, likelihood and sampling."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F


def uncertainty_term(distance: Tensor, log_scale: Tensor) -> Tensor:
    """Uncertainty term of USR-DU, `b * exp(-u / b) - log b - 1`.

    It is the difference between KL(Laplace(m, b) || Laplace(t, 1)) and u = |m - t|. Its minimum over b is at b = 1 for
    u = 0 and at larger b for larger u, so b learns the distance of the real degradation from the reference one.

    Args:
        distance: u = |m - t| >= 0.
        log_scale: log b, same shape; |log b| < 80, so that b is representable.

    Returns:
        Tensor of the same shape as `distance`.
    """
    return (log_scale - distance * (-log_scale).exp()).exp() - log_scale - 1


def laplace_nll(distance: Tensor, log_scale: Tensor) -> Tensor:
    """Negative log-likelihood `log(2 b) + u / b`, in nats.

    Args:
        distance: u = |y - m| >= 0, in the units of b.
        log_scale: log b, same shape.

    Returns:
        Tensor of the same shape as `distance`.
    """
    return math.log(2) + log_scale + distance * (-log_scale).exp()


def sample_laplace(
    mean: Tensor,
    log_scale: Tensor,
    generator: torch.Generator | None = None,
    taps: Tensor | None = None,
    mix: Tensor | None = None,
) -> Tensor:
    """Sample a generated LR image: `mean + noise * exp(log_scale) / 255`, as published with unit Laplace noise.

    Args:
        mean: `(N, C, H, W)` in [0, 1].
        log_scale: Natural logarithm of the Laplace scale in 8-bit units, same shape.
        generator: Random generator on the device of `mean`; torch's default generator if None.
        taps: `(k, k)`, k odd, filter that correlates the noise of neighbouring pixels; a single 1 changes nothing.
        mix: `(C, C)`, channels of the noise as combinations of independent ones; given with `taps`.

    Returns:
        Tensor of the same shape as `mean`, not clipped.
    """
    size = list(mean.shape)
    if taps is not None:
        size[2:] = (side + len(taps) - 1 for side in size[2:])
    # The difference of two unit exponentials is a unit Laplace. Unlike the inverse CDF, it is always finite.
    plus = torch.empty(size, dtype=mean.dtype, device=mean.device).exponential_(generator=generator)
    minus = torch.empty_like(plus).exponential_(generator=generator)
    noise = plus - minus
    if taps is not None and mix is not None:
        noise = F.conv2d(noise.flatten(0, 1)[:, None], taps[None, None])[:, 0].unflatten(0, mean.shape[:2])
        noise = torch.einsum('dc,nchw->ndhw', mix, noise)
    return mean + noise * log_scale.exp() / 255
