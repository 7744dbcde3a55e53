"""KernelGAN run layer by layer on its crop, one image at a time: the reference of the speed benchmark."""

import torch
from torch import Tensor, nn
from torch.nn.utils import spectral_norm

from usrdu_basicsr.kernelgan.constraints import BOUNDARY_WEIGHT, SUM_WEIGHT, constraint_losses
from usrdu_basicsr.kernelgan.training import BETAS, LEARNING_RATE, KernelGANs


class LayeredKernelGAN:
    """One run of `KernelGANs`, from its initial weights, as six convolutions and a discriminator of modules.

    Args:
        gans: Untrained networks, whose weights are copied.
        run: Index of the run in `gans`.
    """

    def __init__(self, gans: KernelGANs, run: int = 0) -> None:
        weights = [weight[run].detach().clone() for weight in gans.generators.weights.values()]
        strides = [1] * (len(weights) - 1) + [2]
        self.generator = nn.Sequential(*(_conv(w, stride) for w, stride in zip(weights, strides, strict=True)))
        self.discriminator = _discriminator(gans, run)
        self.mask = gans.mask.to(weights[0])
        self.optimisers = [
            torch.optim.Adam(net.parameters(), LEARNING_RATE, BETAS) for net in (self.generator, self.discriminator)
        ]

    def kernel(self) -> Tensor:
        """Return the generator's kernel `(13, 13)`: its response to a single pixel."""
        first = next(self.generator.parameters())
        x = torch.zeros(1, 1, 25, 25, dtype=first.dtype, device=first.device)
        x[..., 12, 12] = 1
        for layer in self.generator:
            x = nn.functional.conv2d(x, layer.weight)
        return x[0, 0].flip((0, 1))

    def downsample(self, crop: Tensor) -> Tensor:
        """Run the generator on `(1, 3, H, W)`, with the colour channels as a batch."""
        return self.generator(crop.transpose(0, 1)).transpose(0, 1)

    def step(
        self,
        g_crop: Tensor,
        target: Tensor,
        real: Tensor,
        fake_noise: float | Tensor = 0,
        weights: tuple[float, float, float] = (5, 0, 0),
    ) -> Tensor:
        """Run one iteration and return the bicubic loss.

        Args:
            g_crop: See `KernelGANs.step`.
            target: See `KernelGANs.step`.
            real: See `KernelGANs.step`.
            fake_noise: See `KernelGANs.step`.
            weights: Weights of the bicubic, centre and sparse losses.
        """
        fake = self.downsample(g_crop)
        losses = constraint_losses(self.kernel()[None], self.mask)
        bicubic = (fake - target).square().mean()
        loss = (1 - self.discriminator(fake)).abs().mean() + weights[0] * bicubic
        loss = loss + SUM_WEIGHT * losses['sum'] + BOUNDARY_WEIGHT * losses['boundary']
        loss = loss + weights[1] * losses['centre'] + weights[2] * losses['sparse']
        self.optimisers[0].zero_grad()
        loss.sum().backward()
        self.optimisers[0].step()

        fake = self.downsample(g_crop).detach() + fake_noise
        self.optimisers[1].zero_grad()
        loss = (1 - self.discriminator(real)).abs().mean() + self.discriminator(fake).abs().mean()
        (loss / 2).backward()
        self.optimisers[1].step()
        return bicubic.detach()


def _conv(weight: Tensor, stride: int = 1, bias: bool = False) -> nn.Conv2d:
    conv = nn.Conv2d(weight.shape[1], weight.shape[0], weight.shape[2], stride, bias=bias).to(weight)
    conv.weight.data.copy_(weight)
    if bias:
        nn.init.zeros_(conv.bias)
    return conv


def _spectral(weight: Tensor, u: Tensor) -> nn.Conv2d:
    conv = spectral_norm(_conv(weight, bias=True))
    conv.weight_u.copy_(u)
    return conv


def _discriminator(gans: KernelGANs, run: int) -> nn.Sequential:
    nets = gans.discriminators
    layers: list[nn.Module] = [_spectral(nets.first[run].detach(), nets.u[0, run])]
    for i, weight in enumerate(nets.hidden[:, run].detach()):
        norm = nn.BatchNorm2d(len(weight)).to(weight)
        norm.weight.data.copy_(nets.norm_weight[i, run])
        norm.bias.data.copy_(nets.norm_bias[i, run])
        layers += [_spectral(weight[..., None, None], nets.u[1 + i, run]), norm, nn.ReLU(True)]
    last = _spectral(nets.last[run].detach()[..., None, None], torch.ones(1))
    last.bias.data.copy_(nets.last_bias[run].flatten())
    return nn.Sequential(*layers, last, nn.Sigmoid())
