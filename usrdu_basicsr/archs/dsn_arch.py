"""The downsampling network (DSN): an HR image to a distribution over LR images."""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

from basicsr.utils.registry import ARCH_REGISTRY
from torch import Tensor, nn

from usrdu_basicsr.ops.resize import bicubic_downsample


class DSNOutput(NamedTuple):
    """A Laplace distribution at each LR pixel, and one at each perceptual feature of the LR image.

    Attributes:
        mean: Mean, `(N, C, H/s, W/s)`, RGB, unit range.
        log_scale: Natural logarithm of the Laplace scale in 8-bit units, the shape of `mean`, at least -1.
        feature_log_scale: The same of VGG conv5_4 features, `(N, 512, H // 16s, W // 16s)`; None if not asked for.
    """

    mean: Tensor
    log_scale: Tensor
    feature_log_scale: Tensor | None


class ResidualBlock(nn.Module):
    """conv - PReLU - conv, added to the input."""

    def __init__(self, num_feat: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(num_feat, num_feat, 3, padding=1)
        self.act = nn.PReLU()
        self.conv2 = nn.Conv2d(num_feat, num_feat, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv2(self.act(self.conv1(x)))


@ARCH_REGISTRY.register()
class UncertaintyDSN(nn.Module):
    """Learns how a camera degrades, as a distribution (USR-DU, IJCAI 2022).

    Args:
        num_in_ch: Channels of the HR image.
        num_out_ch: Channels of the LR image.
        num_feat: Width.
        num_block: Residual blocks at HR size.
        scale: Reduction: 1, 2 or 4.
        residual: False, as published: the network makes the mean. True: the mean is the bicubic reduction plus a
            correction that starts at zero, so a small budget goes into the degradation, not into learning to reduce.

    Raises:
        ValueError: `scale` is not 1, 2 or 4, or a residual network changes the number of channels.
    """

    def __init__(
        self,
        num_in_ch: int = 3,
        num_out_ch: int = 3,
        num_feat: int = 64,
        num_block: int = 8,
        scale: int = 4,
        residual: bool = False,
    ) -> None:
        super().__init__()
        if scale not in (1, 2, 4):
            raise ValueError(f'UncertaintyDSN: scale {scale} is not supported, choose 1, 2 or 4')
        if residual and num_in_ch != num_out_ch:
            raise ValueError(f'UncertaintyDSN: residual needs num_in_ch == num_out_ch, got {num_in_ch}, {num_out_ch}')
        self.scale = scale
        self.residual = residual
        self.num_block = num_block

        self.conv_first = nn.Sequential(nn.Conv2d(num_in_ch, num_feat, 3, padding=1), nn.PReLU())
        self.body = nn.Sequential(*(ResidualBlock(num_feat) for _ in range(num_block)))
        halvings = scale.bit_length() - 1
        self.down = nn.Sequential(
            *(
                layer
                for _ in range(halvings)
                for layer in (nn.Conv2d(num_feat, num_feat, 3, stride=2, padding=1), nn.PReLU())
            )
        )
        # Two names for the last convolution, so that a checkpoint alone tells which of the two networks it is.
        if residual:
            self.conv_correction = nn.Conv2d(num_feat, num_out_ch, 3, padding=1)
            for parameter in self.conv_correction.parameters():
                nn.init.zeros_(parameter)
        else:
            self.conv_mean = nn.Conv2d(num_feat, num_out_ch, 3, padding=1)
        self.log_scale_head = nn.Sequential(*_convs([num_feat, num_feat, num_feat, num_out_ch], nn.ELU))
        # Follows VGG19 to conv5_4 in size and width: four halvings, 512 channels.
        self.feature_head = nn.Sequential(
            *_convs([num_feat, num_feat, 128, 256, 512], nn.ReLU, nn.MaxPool2d(2)),
            *_convs([512, 512, 512, 512], nn.ELU),
        )

    @property
    def receptive_radius(self) -> int:
        """HR pixels on each side that an output pixel (mean or log-scale) depends on."""
        radius, stride = 1 + 2 * self.num_block, 1
        while stride < self.scale:
            radius += stride
            stride *= 2
        return max(radius + 3 * self.scale, 2 * self.scale) + self.scale - 1

    def forward(self, x: Tensor, with_features: bool = True) -> DSNOutput:
        """Predict the LR distribution of an HR image.

        Args:
            x: `(N, num_in_ch, H, W)`, RGB in [0, 1]; H and W multiples of `scale`.
            with_features: Also predict the scale of the perceptual features; training alone needs it.
        """
        feat = self.down(self.body(self.conv_first(x)))  # (N, num_feat, H/s, W/s)
        if self.residual:
            mean = bicubic_downsample(x, self.scale) + self.conv_correction(feat)
        else:
            mean = self.conv_mean(feat)
        return DSNOutput(mean, self.log_scale_head(feat), self.feature_head(feat) if with_features else None)


def _convs(widths: list[int], activation: type[nn.Module], *after: nn.Module) -> list[nn.Module]:
    """A 3x3 convolution from each width to the next, each followed by the activation and then by `after`."""
    layers: list[nn.Module] = []
    for width_in, width_out in pairwise(widths):
        layers += [nn.Conv2d(width_in, width_out, 3, padding=1), activation(), *after]
    return layers
