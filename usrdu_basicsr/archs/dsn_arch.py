"""Downsampling network (DSN): maps an HR image to a distribution over LR images."""

from itertools import pairwise
from typing import NamedTuple

import torch
from basicsr.utils.registry import ARCH_REGISTRY
from torch import Tensor, nn

from usrdu_basicsr.archs.camera_noise import CameraNoise
from usrdu_basicsr.ops.kernels import camera_downsample
from usrdu_basicsr.ops.resize import bicubic_downsample


class DSNOutput(NamedTuple):
    """Laplace distributions of the LR pixels and of the perceptual features of the LR image.

    Attributes:
        mean: Mean, `(N, C, H/s, W/s)`, RGB, unit range.
        log_scale: Natural logarithm of the Laplace scale in 8-bit units, same shape as `mean`, >= -1 unless calibrated.
        feature_log_scale: Log-scale of VGG conv5_4 features, `(N, 512, H // 16s, W // 16s)`; None if not requested.
    """

    mean: Tensor
    log_scale: Tensor
    feature_log_scale: Tensor | None


class ResidualBlock(nn.Module):
    """Residual block: conv - PReLU - conv."""

    def __init__(self, num_feat: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(num_feat, num_feat, 3, padding=1)
        self.act = nn.PReLU()
        self.conv2 = nn.Conv2d(num_feat, num_feat, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv2(self.act(self.conv1(x)))


@ARCH_REGISTRY.register()
class UncertaintyDSN(nn.Module):
    """Network that learns the degradation of a camera as a distribution (USR-DU, IJCAI 2022).

    Args:
        num_in_ch: Number of channels of the HR image.
        num_out_ch: Number of channels of the LR image.
        num_feat: Number of feature channels.
        num_block: Number of residual blocks at HR size.
        scale: Downsampling factor: 1, 2 or 4.
        residual: False, as published: the network predicts the mean. True: the mean is the bicubic downsampling plus a
            predicted correction, initially zero. Short trainings then learn the degradation instead of downsampling.
        kernel_size: Side of the blur kernel of a measured camera, which takes the place of bicubic downsampling if
            `residual` is true: 8 * scale + 1, see `usrdu camera`. Training reads it from `kernels`. 0: no kernel.
        calibrated: Whether the samples are calibrated to a camera (`usrdu calibrate`), see `CameraNoise`. Training
            ignores the calibration.

    Raises:
        ValueError: If `scale` is not 1, 2 or 4, a residual network changes the number of channels, a calibrated one
            does not have 3, or `kernel_size` is even or that of a network which is not residual.
    """

    base_kernel: Tensor | None

    def __init__(
        self,
        num_in_ch: int = 3,
        num_out_ch: int = 3,
        num_feat: int = 64,
        num_block: int = 8,
        scale: int = 4,
        residual: bool = False,
        kernel_size: int = 0,
        calibrated: bool = False,
    ) -> None:
        super().__init__()
        if scale not in (1, 2, 4):
            raise ValueError(f'UncertaintyDSN: scale: got {scale}, expected 1, 2 or 4')
        if residual and num_in_ch != num_out_ch:
            raise ValueError(f'UncertaintyDSN: residual needs num_in_ch == num_out_ch: got {num_in_ch}, {num_out_ch}')
        if calibrated and num_out_ch != 3:
            raise ValueError(f'UncertaintyDSN: calibrated: got num_out_ch {num_out_ch}, expected 3 (RGB)')
        if kernel_size and (kernel_size < 0 or kernel_size % 2 == 0 or not residual):
            expected = 'a positive odd number' if residual else '0 without residual'
            raise ValueError(f'UncertaintyDSN: kernel_size: got {kernel_size}, expected {expected}')
        self.scale = scale
        self.residual = residual
        self.num_block = num_block

        self.conv_first = nn.Sequential(nn.Conv2d(num_in_ch, num_feat, 3, padding=1), nn.PReLU())
        self.body = nn.Sequential(*(ResidualBlock(num_feat) for _ in range(num_block)))
        self.down = nn.Sequential()
        for _ in range(scale.bit_length() - 1):
            self.down.extend([nn.Conv2d(num_feat, num_feat, 3, stride=2, padding=1), nn.PReLU()])
        # The name of the last convolution tells the two variants apart in a checkpoint.
        if residual:
            self.conv_correction = nn.Conv2d(num_feat, num_out_ch, 3, padding=1)
            for parameter in self.conv_correction.parameters():
                nn.init.zeros_(parameter)
        else:
            self.conv_mean = nn.Conv2d(num_feat, num_out_ch, 3, padding=1)
        kernel = torch.full((kernel_size, kernel_size), kernel_size**-2.0) if kernel_size else None
        self.register_buffer('base_kernel', kernel)
        self.log_scale_head = nn.Sequential(*_convs([num_feat, num_feat, num_feat, num_out_ch], nn.ELU))
        self.camera_noise = CameraNoise() if calibrated else None
        # Same output size and width as VGG19 conv5_4: four halvings, 512 channels.
        self.feature_head = nn.Sequential(
            *_convs([num_feat, num_feat, 128, 256, 512], nn.ReLU, nn.MaxPool2d(2)),
            *_convs([512, 512, 512, 512], nn.ELU),
        )

    def set_base_kernel(self, kernels: Tensor) -> None:
        """Take the kernel of a measured camera.

        Args:
            kernels: `(1, kernel_size, kernel_size)`, correlation order, sum 1.

        Raises:
            ValueError: If the network has no kernel, or it is another number or size.
        """
        if self.base_kernel is None or kernels.shape != (1, *self.base_kernel.shape):
            size = 0 if self.base_kernel is None else len(self.base_kernel)
            got = f'{len(kernels)} of {kernels.shape[1]}x{kernels.shape[2]} pixels'
            raise ValueError(f'UncertaintyDSN: kernels: got {got}, expected 1 of kernel_size {size}')
        self.base_kernel.copy_(kernels[0])

    @property
    def receptive_radius(self) -> int:
        """Number of HR pixels on each side that the mean and log-scale of an LR pixel depend on."""
        hr_convs = 1 + 2 * self.num_block + (self.scale - 1)  # the strided convolutions add 1 + 2 pixels at scale 4
        lr_convs = 3 * self.scale
        kernel = 0 if self.base_kernel is None else len(self.base_kernel) // 2
        # LR pixels have `scale` HR pixels; bicubic downsampling needs less
        return max(hr_convs + lr_convs + self.scale - 1, kernel)

    def forward(self, x: Tensor, with_features: bool = True) -> DSNOutput:
        """Predict the LR distribution of an HR image.

        Args:
            x: `(N, num_in_ch, H, W)`, RGB in [0, 1]; H and W multiples of `scale`.
            with_features: Also predict the scale of the perceptual features, which only training needs.
        """
        feat = self.down(self.body(self.conv_first(x)))  # (N, num_feat, H/s, W/s)
        if self.residual:
            mean = self._downsample(x) + self.conv_correction(feat)
        else:
            mean = self.conv_mean(feat)
        log_scale = self.log_scale_head(feat)
        if self.camera_noise is not None and not self.training:
            log_scale = self.camera_noise.log_scale(mean, log_scale)
        return DSNOutput(mean, log_scale, self.feature_head(feat) if with_features else None)

    def _downsample(self, x: Tensor) -> Tensor:
        if self.base_kernel is None:
            return bicubic_downsample(x, self.scale)
        return camera_downsample(x, self.base_kernel, self.scale)


def _convs(widths: list[int], activation: type[nn.Module], *after: nn.Module) -> list[nn.Module]:
    """3x3 convolutions between successive widths, each followed by the activation and `after`."""
    layers: list[nn.Module] = []
    for width_in, width_out in pairwise(widths):
        layers += [nn.Conv2d(width_in, width_out, 3, padding=1), activation(), *after]
    return layers
