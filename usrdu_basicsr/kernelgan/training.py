"""Training of KernelGANs in batches."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from usrdu_basicsr.kernelgan.constraints import LossWeights, boundary_mask, constraint_losses
from usrdu_basicsr.kernelgan.crops import D_CROP, SourceImages
from usrdu_basicsr.kernelgan.discriminator import PatchDiscriminators, Weights
from usrdu_basicsr.kernelgan.generator import KERNEL_SIZE, KernelGenerators
from usrdu_basicsr.kernelgan.operations import Correlation
from usrdu_basicsr.utils.memory import tune_malloc

ITERATIONS = 3000
LEARNING_RATE = 2e-4
BETAS = (0.5, 0.999)
DECAY_EVERY = 750
DECAY = 0.1
REPORTED_ITERATIONS = 200  # last iterations, whose mean losses are reported
NOISE_ITERATIONS = 10  # iterations whose noise is drawn at once


class KernelGANs:
    """Generators, discriminators and optimisers of a batch of independent runs.

    Args:
        seeds: Seed of the initial weights of each run.
        device: Device of the training.
    """

    def __init__(self, seeds: Sequence[int], device: torch.device) -> None:
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
        self.kernels = self.generators()  # with the graph for the next backward pass

    def step(self, g_crop: Tensor, target: Tensor, real: Tensor, fake_noise: Tensor | None = None) -> dict[str, Tensor]:
        """Run one iteration: a step of the generators, then a step of the discriminators.

        Args:
            g_crop: Input of the generators, `(R, 3, 64, 64)` in [-1, 1].
            target: Bicubic downsampling of `g_crop`, `(R, 3, 26, 26)`.
            real: Real crops for the discriminators, `(R, 3, 26, 26)` in [-1, 1].
            fake_noise: Noise added to the generated images in the discriminators' step.

        Returns:
            Unweighted losses, each `(R,)`.
        """
        # The three forward passes share these weights, because the discriminators change only at the end.
        weights = self.discriminators.weights(3)
        losses, fake = self._step_generators(g_crop, target, weights.detach())
        if fake_noise is not None:
            fake += fake_noise
        losses['discriminator'] = self._step_discriminators(real, fake, weights)
        self.weights.update(self.iteration, losses['bicubic'], losses['sum'])
        self.iteration += 1
        return losses

    def _step_generators(self, g_crop: Tensor, target: Tensor, d_weights: Weights) -> tuple[dict[str, Tensor], Tensor]:
        """Return the losses, and the generated images after the step."""
        downsample = Correlation(g_crop, KERNEL_SIZE, 2)
        fake = downsample(self.kernels)
        losses = constraint_losses(self.kernels, self.mask)
        losses['gan'] = 1 - self.discriminators(fake, d_weights, 0).mean(1)
        losses['bicubic'] = (fake - target).square().mean((1, 2, 3))
        # The runs share no weights, so the gradient of the sum is the gradient of each run.
        self.weights.total(losses).sum().backward(inputs=list(self.generators.parameters()))
        self._update(0)
        self.kernels = self.generators()
        return {name: loss.detach() for name, loss in losses.items()}, downsample(self.kernels.detach())

    def _step_discriminators(self, real: Tensor, fake: Tensor, weights: Weights) -> Tensor:
        """Return the losses. Each backward pass runs right after its forward pass, while the CPU cache has the data."""
        leaves = Weights(*(weight.requires_grad_() for weight in weights.detach()))
        losses = torch.full((len(real),), 0.5, dtype=real.dtype, device=real.device)
        for index, image, sign in ((1, real, -1), (2, fake, 1)):
            loss = sign / 2 * self.discriminators(image, leaves, index).mean(1)
            loss.sum().backward()
            losses += loss.detach()
        torch.autograd.backward(weights, [leaf.grad for leaf in leaves])
        self._update(1)
        return losses

    def _update(self, index: int) -> None:
        """Update the weights of the generators (0) or the discriminators (1)."""
        self.optimisers[index].step()
        self.optimisers[index].zero_grad()  # at once, so that the next gradients reuse this memory
        self.schedulers[index].step()


def train_kernels(
    images: SourceImages,
    indices: Sequence[int],
    seeds: Sequence[int],
    device: torch.device,
    iterations: int = ITERATIONS,
    progress: Callable[[], object] = lambda: None,
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Train a batch of KernelGANs. On CPUs the kernel of a run does not depend on the other runs of the batch.

    Malloc tuning stays on afterwards: the process keeps up to 1 GiB of freed memory.

    Args:
        images: Images of the batch.
        indices: Image index of each run.
        seeds: Seed of each run.
        device: Device of the training and of `images`.
        iterations: Number of iterations; 3,000 in the published method.
        progress: Function called after each iteration.

    Returns:
        Kernels before post-processing, `(R, 13, 13)` float32, correlation order, and unweighted losses `(R,)`, means of
        the last iterations.
    """
    tune_malloc()
    count = len(seeds)
    if count == 1:
        # Matrix products of batch size 1 are rounded in another order, and training amplifies the difference.
        indices, seeds = [*indices, *indices], [*seeds, *seeds]
    derived = [np.random.SeedSequence(seed).generate_state(3).tolist() for seed in seeds]
    crop_seeds, weight_seeds, noise_seeds = zip(*derived, strict=True)
    crops = images.draw(indices, iterations, [np.random.default_rng(seed) for seed in crop_seeds])
    gans = KernelGANs(weight_seeds, device)
    streams = [torch.Generator(device).manual_seed(seed) for seed in noise_seeds]
    mean_losses: dict[str, Tensor] = {}
    reported = range(max(0, iterations - REPORTED_ITERATIONS), iterations)
    for iteration, (g_crop, target, d_crop) in enumerate(crops):
        if iteration % NOISE_ITERATIONS == 0:
            noise = _draw_noise(streams, device)
        real_noise, fake_noise = noise[:, iteration % NOISE_ITERATIONS].unbind(1)
        # As published, noise is added to real crops in [0, 1] and to generated images in [-1, 1].
        losses = gans.step(g_crop, target, d_crop.add_(real_noise).mul_(2).sub_(1), fake_noise)
        if iteration in reported:
            mean_losses = {name: mean_losses.get(name, 0) + loss / len(reported) for name, loss in losses.items()}
        progress()
    kernels = gans.kernels.detach().cpu().numpy()
    return kernels[:count], {name: loss.cpu().numpy()[:count] for name, loss in mean_losses.items()}


def _draw_noise(streams: Sequence[torch.Generator], device: torch.device) -> Tensor:
    """Noise with a standard deviation of 1/255 for the next iterations, `(R, iterations, 2, 3, 26, 26)`."""
    shape = (NOISE_ITERATIONS, 2, 3, D_CROP, D_CROP)
    return torch.stack([torch.randn(shape, generator=stream, device=device) for stream in streams]) / 255
