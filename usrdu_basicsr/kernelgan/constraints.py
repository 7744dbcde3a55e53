"""What KernelGAN asks of a kernel besides fooling the discriminator, and when it asks."""

from __future__ import annotations

import torch
from torch import Tensor

from usrdu_basicsr.kernelgan.generator import KERNEL_SIZE
from usrdu_basicsr.ops.kernels import centre_of_mass

SUM_WEIGHT = 0.5
BOUNDARY_WEIGHT = 0.5
CENTRE = KERNEL_SIZE // 2 + 0.5  # half a pixel on: the middle of the 2x2 pixels that make one

COLLAPSED = 0.5  # a sum that is this far from 1

_FIRST_BICUBIC_WEIGHT = 5.0
_LEAST_BICUBIC_WEIGHT = 5e-6
_CLOSE = 0.4  # bicubic loss below which a kernel counts as close to bicubic
_CLOSE_ITERATIONS = 3
_RELAX_EVERY = 200
_RELAX_BY = 100
_CONSTRAIN_BELOW = 5e-3  # bicubic weight from which on the kernel must be centred and sparse
_CENTRE_WEIGHT = 1.0
_SPARSE_WEIGHT = 5.0


def boundary_mask(device: torch.device) -> Tensor:
    """Penalty `(13, 13)` of a kernel's taps: 0 within a border of 2, more further out."""
    offset = torch.arange(KERNEL_SIZE) - (KERNEL_SIZE - 1) / 2
    window = torch.exp(-0.5 * (offset / KERNEL_SIZE) ** 2)
    gauss = torch.outer(window, window)
    mask = 30 * (1 - gauss / gauss.max())
    mask[2:-2, 2:-2] = 0
    return mask.to(device)


def constraint_losses(kernels: Tensor, mask: Tensor) -> dict[str, Tensor]:
    """`sum`, `boundary`, `centre` and `sparse` of each kernel, unweighted.

    Args:
        kernels: `(R, 13, 13)`.
        mask: `boundary_mask`.

    Returns:
        `(R,)` each.
    """
    magnitude = kernels.abs()
    return {
        'sum': (1 - kernels.sum((1, 2))).abs(),
        'boundary': (magnitude * mask).mean((1, 2)),
        'centre': (centre_of_mass(kernels) - CENTRE).square().mean(1),
        # The root's slope at 0 is infinite. In single precision its last bit would depend on the place in the batch.
        'sparse': magnitude.double().clamp_min(1e-20).pow(0.2).to(kernels.dtype).mean((1, 2)),
    }


class LossWeights:
    """Weights of the generator's losses, each run's on a schedule of its own.

    A run starts by imitating bicubic reduction. When that loss has been below 0.4 in three iterations running, its
    weight falls a hundredfold at every 200th iteration; once it is below 5e-3, the kernel must be centred and sparse.

    Ours: a kernel whose sum is far from 1 does not count as close, whatever its loss. Weights start so small that a run
    may need hundreds of iterations to leave 0, where a gray image has little loss; published, some are let go before.

    Attributes (all `(R,)`, on the device, read and written without synchronising with it):
        bicubic, centre, sparse: The weights.
    """

    def __init__(self, runs: int, device: torch.device) -> None:
        self.bicubic = torch.full((runs,), _FIRST_BICUBIC_WEIGHT, device=device)
        self.centre = torch.zeros(runs, device=device)
        self.sparse = torch.zeros(runs, device=device)
        self._close = torch.zeros(runs, device=device)  # iterations in a row, held at _CLOSE_ITERATIONS once there

    def update(self, iteration: int, bicubic_loss: Tensor, sum_loss: Tensor) -> None:
        """Go on after an iteration (the first is 0, which does not count).

        Args:
            iteration: The one just done.
            bicubic_loss: Its loss, `(R,)`.
            sum_loss: How far the kernels' sums were from 1, `(R,)`.
        """
        if iteration == 0:
            return
        arrived = self._close >= _CLOSE_ITERATIONS
        if iteration % _RELAX_EVERY == 0:
            relaxed = (self.bicubic / _RELAX_BY).clamp_min(_LEAST_BICUBIC_WEIGHT)
            self.bicubic = torch.where(arrived, relaxed, self.bicubic)
            constrained = arrived & (self.bicubic < _CONSTRAIN_BELOW)
            self.centre = torch.where(constrained, _CENTRE_WEIGHT, self.centre)
            self.sparse = torch.where(constrained, _SPARSE_WEIGHT, self.sparse)
        close = (bicubic_loss < _CLOSE) & (sum_loss < COLLAPSED)
        counted = torch.where(close, self._close + 1, 0.0)
        self._close = torch.where(arrived, self._close, counted)
