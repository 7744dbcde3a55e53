"""Train many KernelGANs at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from usrdu_basicsr.kernelgan.constraints import (
    BOUNDARY_WEIGHT,
    SUM_WEIGHT,
    LossWeights,
    boundary_mask,
    constraint_losses,
)
from usrdu_basicsr.kernelgan.correlation import Correlation
from usrdu_basicsr.kernelgan.crops import D_CROP, SourceImages
from usrdu_basicsr.kernelgan.discriminator import PatchDiscriminators, Weights
from usrdu_basicsr.kernelgan.generator import KERNEL_SIZE, KernelGenerators
from usrdu_basicsr.utils.malloc import tune_malloc

ITERATIONS = 3000
LEARNING_RATE = 2e-4
BETAS = (0.5, 0.999)
DECAY_EVERY = 750
DECAY = 0.1
LOGGED = 200  # last iterations whose mean losses are reported
_NOISE_BLOCK = 10  # iterations whose noise is drawn at once


class KernelGANs:
    """Generators, discriminators and optimisers of a batch of runs, each independent of the others.

    Args:
        seeds: One a run: its initial weights depend on nothing else.
        device: Where they train.
    """

    def __init__(self, seeds: Sequence[int], device: torch.device) -> None:
        self.device = device
        streams = [torch.Generator().manual_seed(seed) for seed in seeds]
        self.generators = KernelGenerators(streams).to(device)
        self.discriminators = PatchDiscriminators(streams).to(device)
        self.optimisers = [
            torch.optim.Adam(net.parameters(), LEARNING_RATE, BETAS, fused=True)
            for net in (self.generators, self.discriminators)
        ]
        self.schedulers = [torch.optim.lr_scheduler.StepLR(one, DECAY_EVERY, DECAY) for one in self.optimisers]
        self.weights = LossWeights(len(seeds), device)
        self.mask = boundary_mask(device)
        self.iteration = 0
        self.kernels = self.generators()  # with their graph, which the next step goes back through

    def step(self, g_crop: Tensor, target: Tensor, real: Tensor, fake_noise: Tensor | None = None) -> dict[str, Tensor]:
        """One iteration: the generators' step, then the discriminators'.

        Args:
            g_crop: What the generators reduce, `(R, 3, 64, 64)` in [-1, 1].
            target: Its bicubic reduction, `(R, 3, 26, 26)`.
            real: What the discriminators compare with, in [-1, 1].
            fake_noise: Added to the generated images that the discriminators see in their own step.

        Returns:
            Unweighted losses, `(R,)` each.
        """
        # The discriminators' weights change at the end of the iteration only.
        spectral = self.discriminators.weights(3)
        losses, fake = self._step_generators(g_crop, target, spectral.detached())
        if fake_noise is not None:
            fake += fake_noise
        losses['discriminator'] = self._step_discriminators(real, fake, spectral)
        self.weights.update(self.iteration, losses['bicubic'], losses['sum'])
        self.iteration += 1
        return losses

    def _step_generators(self, g_crop: Tensor, target: Tensor, spectral: Weights) -> tuple[dict[str, Tensor], Tensor]:
        """Their losses, and what they make of the crop now."""
        reduce = Correlation(g_crop, KERNEL_SIZE, 2)
        fake = reduce(self.kernels)
        weights = self.weights
        losses = constraint_losses(self.kernels, self.mask)
        losses['gan'] = 1 - self.discriminators(fake, spectral, 0).mean(1)
        losses['bicubic'] = (fake - target).square().mean((1, 2, 3))
        total = (
            losses['gan']
            + weights.bicubic * losses['bicubic']
            + SUM_WEIGHT * losses['sum']
            + BOUNDARY_WEIGHT * losses['boundary']
            + weights.centre * losses['centre']
            + weights.sparse * losses['sparse']
        )
        # The runs share no weight, so the sum's gradient is each one's own.
        total.sum().backward(inputs=list(self.generators.parameters()))
        self._descend(0)
        self.kernels = self.generators()
        return {name: loss.detach() for name, loss in losses.items()}, reduce(self.kernels.detach())

    def _step_discriminators(self, real: Tensor, fake: Tensor, spectral: Weights) -> Tensor:
        """Their losses. One look is done with before the next, which then finds its memory in the processor's cache."""
        held = Weights(*(one.requires_grad_() for one in spectral.detached()))
        losses = torch.full((len(real),), 0.5, dtype=real.dtype, device=real.device)
        for look, image, sign in ((1, real, -1), (2, fake, 1)):
            part = sign / 2 * self.discriminators(image, held, look).mean(1)
            part.sum().backward()
            losses += part.detach()
        torch.autograd.backward(spectral, [one.grad for one in held])
        self._descend(1)
        return losses

    def _descend(self, index: int) -> None:
        self.optimisers[index].step()
        self.optimisers[index].zero_grad()  # at once, for the next gradients to be where these were
        self.schedulers[index].step()


@dataclass(frozen=True)
class RawKernels:
    """What the runs of a batch ended with."""

    kernels: np.ndarray
    """`(R, 13, 13)` float32, correlation order, not yet post-processed."""
    losses: dict[str, np.ndarray]
    """Unweighted losses `(R,)`, mean of the last iterations."""


def train_kernels(
    images: SourceImages,
    which: Sequence[int],
    seeds: Sequence[int],
    device: torch.device,
    iterations: int = ITERATIONS,
    progress: Callable[[], object] = lambda: None,
) -> RawKernels:
    """Train one KernelGAN a run, all at once; on CPUs, a run's kernel does not depend on the others of its batch.

    From then on the process keeps up to 1 GiB of the memory that it frees (`freed_memory`).

    Args:
        images: The photos.
        which: Photo of each run.
        seeds: Seed of each run.
        device: Where to train, as of `images`.
        iterations: Published: 3,000.
        progress: Called after each iteration.

    Returns:
        Kernels and losses, in the order of the runs.
    """
    tune_malloc()
    count = len(seeds)
    if count == 1:
        # Matrix products of a batch of one are rounded in another order, which training would amplify.
        which, seeds = [*which, *which], [*seeds, *seeds]
    # a seed of its own for everything that is random
    derived = [np.random.SeedSequence(seed).generate_state(3).tolist() for seed in seeds]
    crop_seeds, weight_seeds, noise_seeds = zip(*derived, strict=True)
    crops = images.draw(which, iterations, [np.random.default_rng(seed) for seed in crop_seeds])
    gans = KernelGANs(weight_seeds, device)
    streams = [torch.Generator(device).manual_seed(seed) for seed in noise_seeds]
    sums: dict[str, Tensor] = {}
    logged = range(max(0, iterations - LOGGED), iterations)
    for iteration in range(iterations):
        if iteration % _NOISE_BLOCK == 0:
            noise = _draw_noise(streams, device)
        g_crop, target, d_crop = crops[iteration]
        real_noise, fake_noise = noise[:, iteration % _NOISE_BLOCK].unbind(1)
        # As published, real crops get their noise on [0, 1] and generated ones on [-1, 1].
        losses = gans.step(g_crop, target, d_crop.add_(real_noise).mul_(2).sub_(1), fake_noise)
        if iteration in logged:
            sums = {name: sums.get(name, 0) + loss / len(logged) for name, loss in losses.items()}
        progress()
    kernels = gans.kernels.detach().cpu().numpy()
    return RawKernels(kernels[:count], {name: value.cpu().numpy()[:count] for name, value in sums.items()})


def _draw_noise(streams: Sequence[torch.Generator], device: torch.device) -> Tensor:
    """Noise of one gray level for the next iterations, `(R, iterations, 2, 3, 26, 26)`, each run's from its stream."""
    shape = (_NOISE_BLOCK, 2, 3, D_CROP, D_CROP)
    return torch.stack([torch.randn(shape, generator=stream, device=device) for stream in streams]) / 255
