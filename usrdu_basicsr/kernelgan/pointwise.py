"""The discriminators' 1x1 convolutions, in little memory."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

EPSILON = 1e-5  # of batch normalisation


def pointwise_layers(
    x: Tensor, first: Tensor, norm: Tensor, others: Tensor, last: Tensor, scales: Tensor, shifts: Tensor
) -> Tensor:
    """Run layers of a 1x1 convolution, batch normalisation over the pixels of one run, and ReLU; then one more
    convolution, to a single channel.

    All that comes after `x` gets its gradient if `first` needs one, else none of it does.

    Args:
        x: `(R, K, pixels)`.
        first: Weights of the first layer, `(R, C, K)`.
        norm: What these are divided by, `(R,)`.
        others: Weights of the other layers, `(layers - 1, R, C, C)`.
        last: Weights of the last convolution, `(R, 1, C)`.
        scales: Of the normalisations, `(layers, R, C)`.
        shifts: Likewise.

    Returns:
        `(R, 1, pixels)`.
    """
    return _PointwiseLayers.apply(x, first, norm, others, last, scales, shifts)


class _PointwiseLayers(torch.autograd.Function):
    """With a run's channels as groups, group normalisation is batch normalisation; on CPUs, four times as fast.

    What takes the time is moving activations through memory. So the backward pass is written out: it lets go of each
    layer's activations and gradients as it has used them, and can be run once.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        first: Tensor,
        norm: Tensor,
        others: Tensor,
        last: Tensor,
        scales: Tensor,
        shifts: Tensor,
    ) -> Tensor:
        first = first / norm[:, None, None]
        channels = first.shape[0] * first.shape[1]
        ctx.groups = groups = (1, channels, x.shape[2], channels)  # images, channels, pixels, groups
        ctx.save_for_backward(x, first, norm, others, last, scales)
        ctx.layers = []
        for weight, scale, shift in zip((first, *others), scales.flatten(1), shifts.flatten(1), strict=True):
            z = torch.bmm(weight, x)
            y, mean, rstd = torch.native_group_norm(z, scale, shift, *groups, EPSILON)
            x = y.relu_()
            ctx.layers.append((z, mean, rstd, x))
        return torch.bmm(last, x)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, first, norm, others, last, scales = ctx.saved_tensors
        # The others' entries may be set where `backward(inputs=...)` asks for none of them.
        for_x, trained = ctx.needs_input_grad[:2]
        wanted = [True, trained, trained]
        relu_backward = torch.ops.aten.threshold_backward.grad_input
        norm_backward = torch.ops.aten.native_group_norm_backward.default
        of_others, of_scales, of_shifts = torch.empty_like(others), [], []
        of_last = torch.bmm(grad, ctx.layers[-1][-1].mT) if trained else None
        of_y = torch.bmm(last.mT, grad)
        for scale in reversed(scales.flatten(1).unbind()):
            z, mean, rstd, y = ctx.layers.pop()
            relu_backward(of_y, y, 0, grad_input=of_y)
            del y
            of_z, of_scale, of_shift = norm_backward(of_y, z, mean, rstd, scale, *ctx.groups, wanted)
            of_scales.append(of_scale)
            of_shifts.append(of_shift)
            del z
            if ctx.layers:
                below = len(ctx.layers) - 1
                if trained:
                    torch.bmm(of_z, ctx.layers[-1][-1].mT, out=of_others[below])
                torch.bmm(others[below].mT, of_z, out=of_y)
                del of_z
        of_x = torch.bmm(first.mT, of_z) if for_x else None
        if not trained:
            return of_x, *[None] * 6
        of_first = torch.bmm(of_z, x.mT).div_(norm[:, None, None])
        of_norm = -torch.linalg.vecdot(of_first.flatten(1), first.flatten(1))
        of_affine = (torch.stack(one[::-1]).view_as(scales) for one in (of_scales, of_shifts))
        return of_x, of_first, of_norm, of_others, of_last, *of_affine
