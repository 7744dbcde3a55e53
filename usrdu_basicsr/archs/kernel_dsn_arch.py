"""DSN without weights: a measured blur kernel and calibrated noise."""

import torch
from basicsr.utils.registry import ARCH_REGISTRY
from torch import Tensor, nn

from usrdu_basicsr.archs.camera_noise import CameraNoise
from usrdu_basicsr.archs.dsn_arch import DSNOutput
from usrdu_basicsr.ops.kernels import camera_downsample


@ARCH_REGISTRY.register()
class KernelDSN(nn.Module):
    """A measured camera in place of a trained DSN (`usrdu camera`), for generation and stage 2.

    Args:
        kernel_size: Side of the kernel, odd.
        scale: Downsampling factor.

    Raises:
        ValueError: If `kernel_size` is even.
    """

    trainable = False  # it cannot be `network_g` of stage 1
    kernel: Tensor

    def __init__(self, kernel_size: int, scale: int = 4) -> None:
        super().__init__()
        if kernel_size % 2 == 0:
            raise ValueError(f'KernelDSN: kernel_size: got {kernel_size}, expected an odd number')
        self.scale = scale
        self.register_buffer('kernel', torch.full((kernel_size, kernel_size), kernel_size**-2.0))
        self.camera_noise = CameraNoise()

    @property
    def receptive_radius(self) -> int:
        """Number of HR pixels on each side that an LR pixel depends on."""
        return len(self.kernel) // 2

    def forward(self, x: Tensor, with_features: bool = False) -> DSNOutput:
        """Distribution of the LR images, see `UncertaintyDSN`; there are no features.

        Args:
            x: `(N, 3, H, W)`, RGB in [0, 1]; H and W multiples of `scale`.
            with_features: Has no effect.
        """
        mean = camera_downsample(x, self.kernel, self.scale)
        return DSNOutput(mean, self.camera_noise.log_scale(mean, torch.zeros_like(mean)), None)
