"""Patch discriminators of KernelGAN, one per run."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from usrdu_basicsr.kernelgan.generator import WIDTH
from usrdu_basicsr.kernelgan.operations import pointwise_layers, unfold

FIRST_SIZE = 7
HIDDEN = 5


class Weights(NamedTuple):
    """Weights of the forward passes until the next optimiser step, and the divisors of the spectral normalisation.

    Attributes:
        first: First two convolutions composed to one, `(R, 64, 147)`.
        hidden: Other hidden convolutions, `(4, R, 64, 64)`.
        last: Last convolution, `(R, 1, 64)`.
        norms: Spectral norms by forward pass and layer, `(passes, 6, R)`. The other fields are not yet divided by them.
    """

    first: Tensor
    hidden: Tensor
    last: Tensor
    norms: Tensor

    def detach(self) -> 'Weights':
        """Detach all tensors from the graph."""
        return Weights(*(tensor.detach() for tensor in self))


class PatchDiscriminators(nn.Module):
    """One discriminator per run, with spectral normalisation (Miyato et al., ICLR 2018).

    Layers: a 7x7 convolution without activation, five 1x1 convolutions with batch normalisation and ReLU, and a 1x1
    convolution to a single channel with a sigmoid.

    A run processes one image at a time, so batch normalisation covers the pixels of that image. It removes every
    constant before it, so only the last convolution has a bias. The first two convolutions have nothing between them
    and run as one.

    The convolutions keep PyTorch's default initial weights, as in the published code. Its Xavier initialisation has no
    effect, because it follows a forward pass: it changes the normalised copies of the weights, not the parameters.

    Args:
        generators: One random stream per run on the CPU, which initialises the weights.
    """

    u: Tensor
    """Left singular vectors `(6, R, 64)` of the first and the hidden convolutions, for their spectral norms."""

    def __init__(self, generators: Sequence[torch.Generator]) -> None:
        super().__init__()
        runs = len(generators)
        self.first = nn.Parameter(_default_weights((WIDTH, 3, FIRST_SIZE, FIRST_SIZE), generators))
        hidden = [_default_weights((WIDTH, WIDTH, 1, 1), generators) for _ in range(HIDDEN)]
        self.hidden = nn.Parameter(torch.stack(hidden).flatten(3))  # (5, R, 64, 64)
        self.last = nn.Parameter(_default_weights((1, WIDTH, 1, 1), generators).flatten(2))  # (R, 1, 64)
        # The only tensor with one number per run: in float32 the last bit of the optimiser's result would depend on the
        # position in the batch.
        self.last_bias = nn.Parameter(torch.zeros(runs, 1, 1, dtype=torch.float64))
        normal = torch.stack([torch.randn(HIDDEN, WIDTH, generator=generator) for generator in generators], 1)
        self.norm_weight = nn.Parameter(1 + 0.02 * normal)  # (5, R, 64)
        self.norm_bias = nn.Parameter(torch.zeros(HIDDEN, runs, WIDTH))
        u = torch.stack([torch.randn(1 + HIDDEN, WIDTH, generator=generator) for generator in generators], 1)
        self.register_buffer('u', F.normalize(u, dim=-1))
        self._power_iteration(1)  # of the published forward pass before training

    def weights(self, passes: int) -> Weights:
        """Weights of the next forward passes; each pass takes one more power iteration for its spectral norms."""
        us = self._power_iteration(passes)
        first = self.first.flatten(2)
        second, hidden = self.hidden.split([1, HIDDEN - 1])
        first_norm = _singular_values(first[None], us[:1])
        second_norm, hidden_norms = _singular_values(self.hidden, us[1:]).split([1, HIDDEN - 1])
        last_norm = self.last.norm(dim=2).expand(-1, passes)[None]  # a row has one singular value, its norm
        norms = torch.cat([first_norm * second_norm, hidden_norms, last_norm])  # (6, R, passes)
        return Weights(torch.bmm(second[0], first), hidden, self.last, norms.permute(2, 0, 1))

    @torch.no_grad()
    def _power_iteration(self, steps: int) -> Tensor:
        """Left singular vectors `(6, R, 1 + steps, 64)` before and after each step. Updates `u` to the last of them."""
        first = self.first.flatten(2)
        squares = torch.cat([(first @ first.mT)[None], self.hidden @ self.hidden.mT])
        squares, us = squares.flatten(0, 1), [self.u.view(-1, WIDTH, 1)]
        for _ in range(steps):
            us.append(F.normalize(torch.bmm(squares, us[-1])))
        self.u = us[-1].view_as(self.u)
        return torch.cat(us, 2).mT.unflatten(0, self.u.shape[:2])

    def forward(self, x: Tensor, weights: Weights, index: int) -> Tensor:
        """Classify the patches of one image per run.

        With detached weights, only `x` and the last bias get a gradient.

        Args:
            x: `(R, 3, H, W)`.
            weights: Result of `weights`.
            index: Index of this forward pass in `weights.norms`.

        Returns:
            Probability that each patch is real, `(R, (H - 6) * (W - 6))`.
        """
        # Dividing the input of a convolution equals dividing its weights. Positive divisors commute with ReLU, so they
        # divide the scale and shift of the normalisation, which are far smaller than the weights.
        norm, next_norms = weights.norms[index].split([1, HIDDEN])
        next_norms = next_norms[..., None]  # (5, R, 1)
        scales, shifts = self.norm_weight / next_norms, self.norm_bias / next_norms
        patches = unfold(x, FIRST_SIZE)
        logits = pointwise_layers(patches, weights.first, norm[0], weights.hidden, weights.last, scales, shifts)
        # float64 for the same reason as `last_bias`
        return torch.sigmoid(logits.double() + self.last_bias).to(x.dtype).squeeze(1)


def _default_weights(shape: Sequence[int], generators: Sequence[torch.Generator]) -> Tensor:
    """Draw weights `(R, *shape)` with the distribution of `nn.Conv2d`, each run from its own random stream."""
    bound = 1 / math.sqrt(math.prod(shape[1:]))
    return torch.stack([torch.empty(*shape).uniform_(-bound, bound, generator=generator) for generator in generators])


def _singular_values(weights: Tensor, us: Tensor) -> Tensor:
    """Largest singular values of weights, as in `torch.nn.utils.spectral_norm`; the singular vectors get no gradient.

    Args:
        weights: `(..., 64, n)`.
        us: Left singular vectors of a power iteration, `(..., 1 + steps, 64)`.

    Returns:
        `(..., steps)`.
    """
    products = us @ weights
    vs = F.normalize(products[..., :-1, :].detach(), dim=-1)
    return (products[..., 1:, :] * vs).sum(-1)
