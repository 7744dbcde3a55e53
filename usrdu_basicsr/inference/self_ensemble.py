"""Self-ensemble: the average of a network's results over flips and transpositions of the image."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

from torch import Tensor


def with_self_ensemble(run: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """Average `run` over the eight flips and transpositions of its input, each undone (https://arxiv.org/abs/1707.02921).

    Args:
        run: Function from `(N, C, H, W)` to `(N, C, H * s, W * s)`.
    """

    def run_all(x: Tensor) -> Tensor:
        total = x.new_zeros(())
        for vertical, horizontal, transpose in product((False, True), repeat=3):
            flipped = [-2] * vertical + [-1] * horizontal
            y = run((x.mT if transpose else x).flip(flipped)).flip(flipped)
            total = total + (y.mT if transpose else y)
        return total / 8

    return run_all
