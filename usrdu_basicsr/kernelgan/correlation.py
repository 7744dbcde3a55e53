"""Reducing crops with the kernels of their runs."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F


class Correlation:
    """What `ops.kernels.correlate_each` does, with the same images and one set of kernels after the other.

    What `stride` rows of a kernel meet is laid out once. Then both the images and the kernels' gradient are matrix
    products, on CPUs in a third of the time of a grouped convolution.

    Args:
        x: `(R, C, H, W)`, without gradient; `H` is a multiple of `stride`.
        size: Side of the kernels.
        stride: 1 takes every pixel.
    """

    def __init__(self, x: Tensor, size: int, stride: int) -> None:
        self.stride, self.rows = stride, (x.shape[2] - size) // stride + 1
        met = x.unfold(3, size, stride)  # (R, C, H, columns, size), a view
        met = met.unflatten(2, (-1, stride)).permute(0, 3, 5, 1, 2, 4)
        self.met = met.flatten(1, 2).contiguous()  # (R, stride * size, C, H / stride, columns)

    def __call__(self, kernels: Tensor) -> Tensor:
        """Correlate every channel of each image with that image's own kernel.

        Args:
            kernels: `(R, size, size)`.

        Returns:
            `(R, C, (H - size) // stride + 1, (W - size) // stride + 1)`.
        """
        # A kernel's rows in groups of `stride`, the last filled up with 0
        kernels = F.pad(kernels, (0, 0, 0, -kernels.shape[1] % self.stride))
        return _Correlate.apply(self.met, kernels.reshape(len(kernels), -1, self.met.shape[1]), self.rows)


class _Correlate(torch.autograd.Function):
    """Each group of rows is multiplied with what it meets wherever the first group may lie; an output pixel is the sum
    of the k-th groups' products k rows further down. Autograd is slow in going back through a view of that kind.
    """

    @staticmethod
    def forward(ctx: Any, met: Tensor, kernels: Tensor, rows: int) -> Tensor:
        ctx.save_for_backward(met)
        ctx.groups, ctx.rows = kernels.shape[1], rows
        products = torch.bmm(kernels, met.flatten(2)).unflatten(2, met.shape[2:])
        return _diagonals(products, rows).sum(1)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[None, Tensor, None]:
        (met,) = ctx.saved_tensors
        placed = met.new_zeros(len(met), ctx.groups, *met.shape[2:])
        _diagonals(placed, ctx.rows).copy_(grad[:, None])
        return None, torch.bmm(placed.flatten(2), met.flatten(2).mT), None


def _diagonals(x: Tensor, rows: int) -> Tensor:
    """Of `x (R, K, C, H, W)` the rows from the k-th on, for each `k < K`: a view `(R, K, C, rows, W)`."""
    run, k, channel, row, column = x.stride()
    return x.as_strided((*x.shape[:3], rows, x.shape[4]), (run, k + row, channel, row, column))
