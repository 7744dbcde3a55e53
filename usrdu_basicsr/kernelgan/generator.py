"""Linear generators of KernelGAN, represented by their kernels."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from usrdu_basicsr.kernelgan.operations import fold

WIDTH = 64
KERNEL_SIZE = 13  # 7 + 5 + 3 - 2, side of the composed kernel
SHAPES = {
    'layer1': (WIDTH, 1, 7, 7),
    'layer2': (WIDTH, WIDTH, 5, 5),
    'layer3': (WIDTH, WIDTH, 3, 3),
    'layer4': (WIDTH, WIDTH, 1, 1),
    'layer5': (WIDTH, WIDTH, 1, 1),
    'layer6': (1, WIDTH, 1, 1),
}
GAIN = 0.1  # of the initial weights


def _xavier_normal(shape: Sequence[int], generators: Sequence[torch.Generator]) -> Tensor:
    """Draw initial convolution weights `(R, *shape)`, each run from its own random stream."""
    taps = math.prod(shape[2:])
    std = GAIN * math.sqrt(2 / ((shape[0] + shape[1]) * taps))
    return torch.stack([std * torch.randn(tuple(shape), generator=generator) for generator in generators])


class KernelGenerators(nn.Module):
    """One linear generator per run: six convolutions without bias or activation, the last with stride 2.

    Six successive convolutions equal one convolution. Its kernel is composed from the output side, where only one
    channel remains, in 1.1 million multiplications; the layers need 1.3 billion on a crop. The gradient reaches the
    weights through the same composition, so training is that of the layers (Bell-Kligler et al., "Blind
    Super-Resolution Kernel Estimation using an Internal-GAN", NeurIPS 2019).

    Args:
        generators: One random stream per run on the CPU, which initialises the weights.
    """

    def __init__(self, generators: Sequence[torch.Generator]) -> None:
        super().__init__()
        self.weights = nn.ParameterDict(
            {name: nn.Parameter(_xavier_normal(shape, generators)) for name, shape in SHAPES.items()}
        )

    def forward(self) -> Tensor:
        """Compose the kernels of all runs, `(R, 13, 13)`, in correlation order."""
        layer1, layer2, layer3, layer4, layer5, layer6 = (weight.flatten(2) for weight in self.weights.values())
        runs = len(layer1)
        # No weight is transposed, so that gradients have the memory layout of their weights.
        rows = torch.bmm(torch.bmm(layer6, layer5), layer4)  # (R, 1, 64)
        taps3 = torch.bmm(rows, layer3).view(runs, WIDTH, 9)
        # Successive correlations add their offsets: each pair of taps contributes at the sum of both positions.
        pairs = torch.bmm(taps3.mT, layer2).view(runs, 9, WIDTH, 25).transpose(1, 2)
        taps2 = fold(pairs.reshape(runs, WIDTH * 9, 25), 3, (7, 7)).flatten(2)  # (R, 64, 49)
        pairs = torch.bmm(taps2.mT, layer1)  # (R, 49, 49)
        return fold(pairs, 7, (KERNEL_SIZE, KERNEL_SIZE)).squeeze(1)
