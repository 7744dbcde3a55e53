"""KernelGAN's patch discriminators, one a run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from usrdu_basicsr.kernelgan.generator import WIDTH, xavier_normal
from usrdu_basicsr.kernelgan.pointwise import pointwise_layers
from usrdu_basicsr.kernelgan.unfold import unfold

FIRST_SIZE = 7
HIDDEN = 5


class Weights(NamedTuple):
    """What the discriminators look with, until their next step."""

    first: Tensor
    """`(R, 64, 147)`: the first two convolutions in one."""
    others: Tensor
    """The other hidden ones, `(4, R, 64, 64)`."""
    last: Tensor
    """`(R, 1, 64)`."""
    norms: Tensor
    """Spectral norms `(looks, 6, R)` that these are to be divided by, layer by layer, at each look."""

    def detached(self) -> Weights:
        """The same values, without gradient."""
        return Weights(*(one.detach() for one in self))


class PatchDiscriminators(nn.Module):
    """One discriminator a run: a spectrally normalised 7x7 convolution without activation, five 1x1 convolutions with
    batch normalisation and ReLU, and one to a single channel with a sigmoid.

    A run looks at one image at a time, so its batch normalisation spans that image's pixels alone. It also takes out
    every constant before it, which is why only the last convolution has a bias here: those of the others change no
    output. The first two convolutions have nothing between them and run as one.

    Args:
        generators: Random streams on the CPU, one a run, that the initial weights are drawn from.
    """

    u: Tensor
    """Left singular vectors `(6, R, 64)` of the first convolution and the hidden ones, for their spectral norms."""

    def __init__(self, generators: Sequence[torch.Generator]) -> None:
        super().__init__()
        runs = len(generators)
        self.first = nn.Parameter(xavier_normal((WIDTH, 3, FIRST_SIZE, FIRST_SIZE), generators))
        hidden = [xavier_normal((WIDTH, WIDTH, 1, 1), generators) for _ in range(HIDDEN)]
        self.hidden = nn.Parameter(torch.stack(hidden).flatten(3))  # (5, R, 64, 64)
        self.last = nn.Parameter(xavier_normal((1, WIDTH, 1, 1), generators).flatten(2))  # (R, 1, 64)
        # The only tensor with one number a run: an optimiser's last bit would depend on the place in the batch.
        self.last_bias = nn.Parameter(torch.zeros(runs, 1, 1, dtype=torch.float64))
        normal = torch.stack([torch.randn(HIDDEN, WIDTH, generator=generator) for generator in generators], 1)
        self.norm_weight = nn.Parameter(1 + 0.02 * normal)  # (5, R, 64)
        self.norm_bias = nn.Parameter(torch.zeros(HIDDEN, runs, WIDTH))
        u = torch.stack([torch.randn(1 + HIDDEN, WIDTH, generator=generator) for generator in generators], 1)
        self.register_buffer('u', F.normalize(u, dim=-1))

    def weights(self, looks: int) -> Weights:
        """Weights for the next `looks`, whose spectral norms each take one more step of power iteration.

        The next call goes on from there.
        """
        us = self._power_iteration(looks)
        first = self.first.flatten(2)
        second, others = self.hidden.split([1, HIDDEN - 1])
        first_norm = _singular_values(first[None], us[:1])
        second_norm, other_norms = _singular_values(self.hidden, us[1:]).split([1, HIDDEN - 1])
        last_norm = self.last.norm(dim=2).expand(-1, looks)[None]  # the one singular value of a row
        norms = torch.cat([first_norm * second_norm, other_norms, last_norm])  # (6, R, looks)
        return Weights(torch.bmm(second[0], first), others, self.last, norms.permute(2, 0, 1))

    @torch.no_grad()
    def _power_iteration(self, steps: int) -> Tensor:
        """Left singular vectors `(6, R, 1 + steps, 64)`: those there are, then those after each step.

        The last of them are kept.
        """
        first = self.first.flatten(2)
        squares = torch.cat([(first @ first.mT)[None], self.hidden @ self.hidden.mT])
        squares, us = squares.flatten(0, 1), [self.u.view(-1, WIDTH, 1)]
        for _ in range(steps):
            us.append(F.normalize(torch.bmm(squares, us[-1])))
        self.u = us[-1].view_as(self.u)
        return torch.cat(us, 2).mT.unflatten(0, self.u.shape[:2])

    def forward(self, x: Tensor, weights: Weights, look: int) -> Tensor:
        """Judge an image of each run.

        With detached weights, `x` and the last bias alone get a gradient.

        Args:
            x: `(R, 3, H, W)`.
            weights: As `weights` gives them.
            look: Which of their looks this is.

        Returns:
            `(R, (H - 6) * (W - 6))`, probabilities that a patch is real.
        """
        # What a convolution is divided by, its input can be; and as it is positive, the scale and shift before a ReLU
        # can be, which are far smaller than weights.
        norm, before = weights.norms[look].split([1, HIDDEN])
        before = before[..., None]  # (5, R, 1)
        scales, shifts = self.norm_weight / before, self.norm_bias / before
        patches = unfold(x, FIRST_SIZE)
        logits = pointwise_layers(patches, weights.first, norm[0], weights.others, weights.last, scales, shifts)
        # in double precision for the same reason as `last_bias`
        return torch.sigmoid(logits.double() + self.last_bias).to(x.dtype).squeeze(1)


def _singular_values(weights: Tensor, us: Tensor) -> Tensor:
    """Largest singular values `(..., steps)` of weights `(..., 64, n)`, as the left vectors `(..., 1 + steps, 64)` of a
    power iteration give them; the vectors are constants to the gradient (Miyato et al., "Spectral Normalization for
    Generative Adversarial Networks", ICLR 2018).
    """
    products = us @ weights
    vs = F.normalize(products[..., :-1, :].detach(), dim=-1)
    return (products[..., 1:, :] * vs).sum(-1)
