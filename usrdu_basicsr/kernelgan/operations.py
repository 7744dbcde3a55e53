"""Unfold, fold, correlation and 1x1 layers: faster on CPUs than torch's operations, with explicit backward passes."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

EPSILON = 1e-5  # of batch normalisation


def unfold(x: Tensor, size: int) -> Tensor:
    """Same as `torch.nn.functional.unfold(x, size)`, five times as fast on CPUs.

    Args:
        x: `(N, C, H, W)`.
        size: Side of a patch in pixels.

    Returns:
        Patches `(N, C * size ** 2, (H - size + 1) * (W - size + 1))`.
    """
    return _Unfold.apply(x, size)


def fold(patches: Tensor, size: int, shape: tuple[int, int]) -> Tensor:
    """Same as `torch.nn.functional.fold(patches, shape, size)`, three times as fast on CPUs.

    Args:
        patches: `(N, C * size ** 2, (H - size + 1) * (W - size + 1))`.
        size: Side of a patch in pixels.
        shape: Output size `(H, W)`.

    Returns:
        Sum of the overlapping patches, `(N, C, H, W)`.
    """
    return _Fold.apply(patches, size, shape)


class _Unfold(torch.autograd.Function):
    """The gradient of unfold is fold and vice versa. Autograd's own gradient of `Tensor.unfold` is slow."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, size: int) -> Tensor:
        ctx.size, ctx.shape = size, x.shape[2:]
        windows = x.unfold(2, size, 1).unfold(3, size, 1)  # (N, C, rows, columns, size, size), a view
        return windows.permute(0, 1, 4, 5, 2, 3).reshape(len(x), x.shape[1] * size**2, -1)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return fold(grad, ctx.size, ctx.shape), None


class _Fold(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, patches: Tensor, size: int, shape: tuple[int, int]) -> Tensor:
        ctx.size = size
        rows, columns = (side - size + 1 for side in shape)
        patches = patches.reshape(len(patches), -1, size, size, rows, columns)
        # Summing the rows of the patches before their columns takes 2 * size sums instead of size ** 2.
        row_sums = F.pad(patches[:, :, 0], (0, 0, 0, size - 1))
        for i in range(1, size):
            row_sums[..., i : i + rows, :] += patches[:, :, i]
        sums = F.pad(row_sums[:, :, 0], (0, size - 1))
        for i in range(1, size):
            sums[..., i : i + columns] += row_sums[:, :, i]
        return sums

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        return unfold(grad, ctx.size), None, None


class Correlation:
    """`ops.kernels.correlate_each` for fixed images and varying kernels.

    The image windows under each group of `stride` kernel rows are laid out once. The output and the gradient of the
    kernels are then matrix products, which take a third of the time of a grouped convolution on CPUs.

    Args:
        x: Images `(R, C, H, W)` without gradient; `H` is a multiple of `stride`.
        size: Side of the kernels.
        stride: Step in pixels; 1 takes every pixel.
    """

    def __init__(self, x: Tensor, size: int, stride: int) -> None:
        self.stride, self.rows = stride, (x.shape[2] - size) // stride + 1
        windows = x.unfold(3, size, stride)  # (R, C, H, columns, size), a view
        windows = windows.unflatten(2, (-1, stride)).permute(0, 3, 5, 1, 2, 4)
        self.windows = windows.flatten(1, 2).contiguous()  # (R, stride * size, C, H / stride, columns)

    def __call__(self, kernels: Tensor) -> Tensor:
        """Correlate every channel of each image with the kernel of that image.

        Args:
            kernels: `(R, size, size)`.

        Returns:
            `(R, C, (H - size) // stride + 1, (W - size) // stride + 1)`.
        """
        kernels = F.pad(kernels, (0, 0, 0, -kernels.shape[1] % self.stride))  # complete the last group of rows
        return _Correlate.apply(self.windows, kernels.reshape(len(kernels), -1, self.windows.shape[1]), self.rows)


class _Correlate(torch.autograd.Function):
    """Product of each group of kernel rows with all windows.

    An output row is the sum over k of the product of the k-th group, k rows further down. Autograd's gradient of such a
    view is slow.
    """

    @staticmethod
    def forward(ctx: Any, windows: Tensor, kernels: Tensor, rows: int) -> Tensor:
        ctx.save_for_backward(windows)
        ctx.groups, ctx.rows = kernels.shape[1], rows
        products = torch.bmm(kernels, windows.flatten(2)).unflatten(2, windows.shape[2:])
        return _shifted_rows(products, rows).sum(1)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[None, Tensor, None]:
        (windows,) = ctx.saved_tensors
        grad_products = windows.new_zeros(len(windows), ctx.groups, *windows.shape[2:])
        _shifted_rows(grad_products, ctx.rows).copy_(grad[:, None])
        return None, torch.bmm(grad_products.flatten(2), windows.flatten(2).mT), None


def _shifted_rows(x: Tensor, rows: int) -> Tensor:
    """View `(R, K, C, rows, W)` of `x (R, K, C, H, W)`, in which index k of K starts at row k."""
    run, k, channel, row, column = x.stride()
    return x.as_strided((*x.shape[:3], rows, x.shape[4]), (run, k + row, channel, row, column))


def pointwise_layers(
    x: Tensor, first: Tensor, norm: Tensor, hidden: Tensor, last: Tensor, scales: Tensor, shifts: Tensor
) -> Tensor:
    """Run layers of 1x1 convolution, batch normalisation over the pixels of one run and ReLU, then a last convolution.

    If `first` requires a gradient, all arguments after `x` get one; otherwise none of them does.

    Args:
        x: `(R, K, pixels)`.
        first: Weights of the first layer, `(R, C, K)`.
        norm: Divisors of `first`, `(R,)`.
        hidden: Weights of the other layers, `(layers - 1, R, C, C)`.
        last: Weights of the last convolution, which has a single output channel, `(R, 1, C)`.
        scales: Scales of the normalisations, `(layers, R, C)`.
        shifts: Shifts of the normalisations, `(layers, R, C)`.

    Returns:
        `(R, 1, pixels)`.
    """
    return _PointwiseLayers.apply(x, first, norm, hidden, last, scales, shifts)


class _PointwiseLayers(torch.autograd.Function):
    """Group normalisation with the channels of all runs as groups equals batch normalisation, four times as fast.

    Memory traffic of the activations dominates the time. The explicit backward pass frees the activations and gradients
    of each layer right after their use, so it can run only once.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, first: Tensor, norm: Tensor, hidden: Tensor, last: Tensor, scales: Tensor, shifts: Tensor
    ) -> Tensor:
        first = first / norm[:, None, None]
        channels = first.shape[0] * first.shape[1]
        ctx.groups = groups = (1, channels, x.shape[2], channels)  # images, channels, pixels, groups
        ctx.save_for_backward(x, first, norm, hidden, last, scales)
        ctx.layers = []
        for weight, scale, shift in zip((first, *hidden), scales.flatten(1), shifts.flatten(1), strict=True):
            z = torch.bmm(weight, x)
            y, mean, rstd = torch.native_group_norm(z, scale, shift, *groups, EPSILON)
            x = y.relu_()
            ctx.layers.append((z, mean, rstd, x))
        return torch.bmm(last, x)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, first, norm, hidden, last, scales = ctx.saved_tensors
        # `backward(inputs=...)` may set the entries of the other parameters although it requests no gradient of them.
        x_needs_grad, first_needs_grad = ctx.needs_input_grad[:2]
        output_mask = [True, first_needs_grad, first_needs_grad]
        relu_backward = torch.ops.aten.threshold_backward.grad_input
        norm_backward = torch.ops.aten.native_group_norm_backward.default
        grad_hidden, grad_scales, grad_shifts = torch.empty_like(hidden), [], []
        grad_last = torch.bmm(grad, ctx.layers[-1][-1].mT) if first_needs_grad else None
        grad_y = torch.bmm(last.mT, grad)
        for layer in reversed(range(len(scales))):
            z, mean, rstd, y = ctx.layers.pop()
            relu_backward(grad_y, y, 0, grad_input=grad_y)
            del y
            scale = scales[layer].flatten()
            grad_z, grad_scale, grad_shift = norm_backward(grad_y, z, mean, rstd, scale, *ctx.groups, output_mask)
            grad_scales.append(grad_scale)
            grad_shifts.append(grad_shift)
            del z
            if layer > 0:
                if first_needs_grad:
                    torch.bmm(grad_z, ctx.layers[-1][-1].mT, out=grad_hidden[layer - 1])
                torch.bmm(hidden[layer - 1].mT, grad_z, out=grad_y)
                del grad_z
        grad_x = torch.bmm(first.mT, grad_z) if x_needs_grad else None
        if not first_needs_grad:
            return grad_x, *[None] * 6
        grad_first = torch.bmm(grad_z, x.mT).div_(norm[:, None, None])
        grad_norm = -torch.linalg.vecdot(grad_first.flatten(1), first.flatten(1))
        grad_affine = (torch.stack(grads[::-1]).view_as(scales) for grads in (grad_scales, grad_shifts))
        return grad_x, grad_first, grad_norm, grad_hidden, grad_last, *grad_affine
