"""Constraints on KernelGAN's kernels and the schedule of their loss weights."""

from collections.abc import Mapping

import torch
from torch import Tensor

from usrdu_basicsr.kernelgan.generator import KERNEL_SIZE
from usrdu_basicsr.ops.kernels import centre_of_mass

SUM_WEIGHT = 0.5
BOUNDARY_WEIGHT = 0.5
CENTRE_WEIGHT = 1.0
SPARSE_WEIGHT = 5.0
CENTRE = KERNEL_SIZE // 2 + 0.5  # middle of the 2x2 pixels that become one, half a pixel past the middle tap
COLLAPSED_SUM_ERROR = 0.5  # |sum - 1| from which a kernel counts as collapsed

INITIAL_BICUBIC_WEIGHT = 5.0
MIN_BICUBIC_WEIGHT = 5e-6
CLOSE_BICUBIC_LOSS = 0.4  # bicubic loss below which a kernel counts as close to bicubic
CLOSE_ITERATIONS = 3
DECAY_EVERY = 200  # iterations
DECAY = 100
CONSTRAIN_BELOW = 5e-3  # bicubic weight below which the kernel must be centred and sparse


def boundary_mask(device: torch.device) -> Tensor:
    """Penalty `(13, 13)` of the kernel taps: positive in a border of 2 and larger further out, 0 inside."""
    offset = torch.arange(KERNEL_SIZE) - (KERNEL_SIZE - 1) / 2
    window = torch.exp(-0.5 * (offset / KERNEL_SIZE) ** 2)
    gauss = torch.outer(window, window)
    mask = 30 * (1 - gauss / gauss.max())
    mask[2:-2, 2:-2] = 0
    return mask.to(device)


def constraint_losses(kernels: Tensor, mask: Tensor) -> dict[str, Tensor]:
    """Unweighted losses `sum`, `boundary`, `centre` and `sparse` of kernels `(R, 13, 13)`, each `(R,)`."""
    magnitude = kernels.abs()
    return {
        'sum': (1 - kernels.sum((1, 2))).abs(),
        'boundary': (magnitude * mask).mean((1, 2)),
        'centre': (centre_of_mass(kernels) - CENTRE).square().mean(1),
        # The clamp avoids the infinite slope at 0. In float32 the last bit would depend on the position in the batch.
        'sparse': magnitude.double().clamp_min(1e-20).pow(0.2).to(kernels.dtype).mean((1, 2)),
    }


class LossWeights:
    """Scheduled weights of the generator losses, for each run on its own.

    Each run first imitates bicubic downsampling. After three consecutive iterations with a bicubic loss below 0.4, its
    bicubic weight falls by a factor of 100 at every 200th iteration. Once that weight is below 5e-3, the centre and
    sparse losses are switched on.

    Unlike in the published method, a kernel whose sum is far from 1 never counts as close to bicubic. The kernel stays
    near 0 for up to hundreds of iterations, where the loss of a gray image is low. The published schedule relaxes the
    bicubic constraint of some runs before that.

    Attributes:
        bicubic: Weights of the bicubic loss, `(R,)`, on the device; reading and writing does not synchronise.
        centre: Weights of the centre loss, likewise.
        sparse: Weights of the sparse loss, likewise.
    """

    def __init__(self, runs: int, device: torch.device) -> None:
        self.bicubic = torch.full((runs,), INITIAL_BICUBIC_WEIGHT, device=device)
        self.centre = torch.zeros(runs, device=device)
        self.sparse = torch.zeros(runs, device=device)
        self._close_count = torch.zeros(runs, device=device)  # consecutive iterations; not reset after CLOSE_ITERATIONS

    def total(self, losses: Mapping[str, Tensor]) -> Tensor:
        """Weighted sum `(R,)` of the losses `gan`, `bicubic` and those of `constraint_losses`."""
        return (
            losses['gan']
            + self.bicubic * losses['bicubic']
            + SUM_WEIGHT * losses['sum']
            + BOUNDARY_WEIGHT * losses['boundary']
            + self.centre * losses['centre']
            + self.sparse * losses['sparse']
        )

    def update(self, iteration: int, bicubic_loss: Tensor, sum_loss: Tensor) -> None:
        """Update the weights after an iteration.

        Args:
            iteration: Index of the completed iteration. Iteration 0 is ignored.
            bicubic_loss: Bicubic loss of that iteration, `(R,)`.
            sum_loss: |sum - 1| of the kernels, `(R,)`.
        """
        if iteration == 0:
            return
        reached = self._close_count >= CLOSE_ITERATIONS
        if iteration % DECAY_EVERY == 0:
            self.bicubic = torch.where(reached, (self.bicubic / DECAY).clamp_min(MIN_BICUBIC_WEIGHT), self.bicubic)
            constrained = reached & (self.bicubic < CONSTRAIN_BELOW)
            self.centre = torch.where(constrained, CENTRE_WEIGHT, self.centre)
            self.sparse = torch.where(constrained, SPARSE_WEIGHT, self.sparse)
        close = (bicubic_loss < CLOSE_BICUBIC_LOSS) & (sum_loss < COLLAPSED_SUM_ERROR)
        self._close_count = torch.where(reached | close, self._close_count + 1, 0.0)
