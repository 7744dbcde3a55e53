"""Average a network's results over an image's flips and turns."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from itertools import product
from operator import add

from torch import Tensor


def with_self_ensemble(run: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """The mean of `run` over the eight flips and turns of its input, each undone (https://arxiv.org/abs/1707.02921).

    Args:
        run: `(N, C, H, W)` to `(N, C, H * s, W * s)`, for either of H and W the longer.
    """

    def averaged(x: Tensor) -> Tensor:
        return reduce(add, (_changed(run, x, *how) for how in product((False, True), repeat=3))) / 8

    return averaged


def _changed(run: Callable[[Tensor], Tensor], x: Tensor, upside_down: bool, mirrored: bool, turned: bool) -> Tensor:
    dimensions = [-2] * upside_down + [-1] * mirrored
    y = run((x.transpose(-2, -1) if turned else x).flip(dimensions)).flip(dimensions)
    return y.transpose(-2, -1) if turned else y
