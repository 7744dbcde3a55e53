"""KernelGAN's patch discriminators, one a run."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from usrdu_basicsr.kernelgan.generator import WIDTH, xavier_normal

FIRST_SIZE = 7
HIDDEN = 5


class PatchDiscriminators(nn.Module):
    """One discriminator a run: a spectrally normalised 7x7 convolution without activation, five 1x1 convolutions with
    batch normalisation and ReLU, and one to a single channel with a sigmoid.

    A run looks at one image at a time, so its batch normalisation spans that image's pixels alone. It also takes out
    every constant before it, which is why only the last convolution has a bias here: those of the others change no
    output. The first two convolutions have nothing between them and run as one.

    Args:
        generators: Random streams on the CPU, one a run, that the initial weights are drawn from.
    """

    def __init__(self, generators: Sequence[torch.Generator]) -> None:
        super().__init__()
        runs = len(generators)
        self.first = nn.Parameter(xavier_normal((WIDTH, 3, FIRST_SIZE, FIRST_SIZE), generators))
        hidden = [xavier_normal((WIDTH, WIDTH, 1, 1), generators) for _ in range(HIDDEN)]
        self.hidden = nn.Parameter(torch.stack(hidden, 1).flatten(3))  # (R, 5, 64, 64)
        self.last = nn.Parameter(xavier_normal((1, WIDTH, 1, 1), generators).flatten(2))  # (R, 1, 64)
        # The only tensor with one number a run: an optimiser's last bit would depend on the place in the batch.
        self.last_bias = nn.Parameter(torch.zeros(runs, 1, 1, dtype=torch.float64))
        normal = torch.stack([torch.randn(HIDDEN, WIDTH, generator=generator) for generator in generators])
        self.norm_weight = nn.Parameter(1 + 0.02 * normal)
        self.norm_bias = nn.Parameter(torch.zeros(runs, HIDDEN, WIDTH))
        for name, rows in (('first', (WIDTH,)), ('hidden', (HIDDEN, WIDTH)), ('last', (1,))):
            u = torch.stack([torch.randn(rows, generator=generator) for generator in generators])
            self.register_buffer(f'{name}_u', F.normalize(u, dim=-1))

    def spectral_norms(self, looks: int) -> list[Tensor]:
        """Largest singular values of the weights for the next `looks`, each from one more step of power iteration.

        Returns:
            For first, hidden and last: `(looks, R, ...)`, with gradient.
        """
        norms = []
        for name in ('first', 'hidden', 'last'):
            weight, u = getattr(self, name), getattr(self, f'{name}_u')
            weight = weight.flatten(2) if name == 'first' else weight
            fixed, u = weight.detach(), u[..., None]
            us, vs = [], []
            for _ in range(looks):
                v = F.normalize(fixed.mT @ u, dim=-2)
                u = F.normalize(fixed @ v, dim=-2)
                us.append(u)
                vs.append(v)
            setattr(self, f'{name}_u', u[..., 0])
            norms.append((torch.stack(us).mT @ weight @ torch.stack(vs))[..., 0, 0])
        return norms

    def forward(self, x: Tensor, norms: Sequence[Tensor]) -> Tensor:
        """Judge images.

        Args:
            x: `(L, R, 3, H, W)`: L looks at an image of each run.
            norms: Of these looks, `(L, R, ...)` each, as `spectral_norms` gives them.

        Returns:
            `(L, R, (H - 6) * (W - 6))`, probabilities that a patch is real.
        """
        looks, runs = x.shape[:2]
        first_norm, hidden_norm, last_norm = norms
        patches = F.unfold(x.flatten(0, 1), FIRST_SIZE).unflatten(0, (looks, runs))
        joint = self.hidden[:, 0] @ self.first.flatten(2) / (first_norm * hidden_norm[..., 0])[..., None, None]
        x = self._activate(joint @ patches, 0)
        for layer in range(1, HIDDEN):
            x = self._activate(self.hidden[:, layer] / hidden_norm[..., layer, None, None] @ x, layer)
        logits = self.last / last_norm[..., None, None] @ x + self.last_bias.to(x.dtype)
        # in double precision for the same reason as `last_bias`
        return torch.sigmoid(logits.double()).to(x.dtype).squeeze(2)

    def _activate(self, x: Tensor, layer: int) -> Tensor:
        """Batch normalisation of each look and run, and ReLU."""
        looks, runs, width, pixels = x.shape
        weight, bias = (p[:, layer].repeat(looks, 1).flatten() for p in (self.norm_weight, self.norm_bias))
        y = F.batch_norm(x.reshape(1, looks * runs * width, pixels), None, None, weight, bias, training=True)
        return F.relu_(y).view_as(x)
