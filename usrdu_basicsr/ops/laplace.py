"""The Laplace distribution's divergence and likelihood, as the losses and metrics use them."""

from __future__ import annotations

import math

from torch import Tensor


def uncertainty_term(distance: Tensor, log_scale: Tensor) -> Tensor:
    """`b * exp(-u / b) - log b - 1`: what a Laplace of scale b at distance u from the target adds to `u`
    in KL(Laplace(m, b) || Laplace(t, 1)) (USR-DU). Over b it is least at b = 1 for u = 0 and at a growing b
    for a growing u, so b learns how far the real degradation departs from the reference one.

    Args:
        distance: u = |m - t| >= 0.
        log_scale: log b, the same shape; b must be representable, |log b| < 80.

    Returns:
        The shape of `distance`.
    """
    return (log_scale - distance * (-log_scale).exp()).exp() - log_scale - 1


def laplace_nll(distance: Tensor, log_scale: Tensor) -> Tensor:
    """Negative log-likelihood `log(2 b) + u / b`, in nats.

    Args:
        distance: u = |y - m| >= 0, in the units of b.
        log_scale: log b, the same shape.

    Returns:
        The shape of `distance`.
    """
    return math.log(2) + log_scale + distance * (-log_scale).exp()
