"""The low-frequency loss of stage 2."""

from __future__ import annotations

from basicsr.utils.registry import LOSS_REGISTRY
from torch import Tensor, nn

from usrdu_basicsr.ops.filters import low_pass


@LOSS_REGISTRY.register()
class LowFrequencyLoss(nn.Module):
    """L1 between Gaussian low-passed images: keeps colours and shapes while the GAN shapes the edges (USR-DU).

    Args:
        loss_weight: Factor of the loss.
        kernel_size: Taps of the low-pass, odd; borders are zero padded.
    """

    def __init__(self, loss_weight: float = 1.0, kernel_size: int = 9) -> None:
        super().__init__()
        self.loss_weight = loss_weight
        self.kernel_size = kernel_size

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        """Scalar loss of images `(N, C, H, W)` in [0, 1]."""
        return self.loss_weight * low_pass(pred - target, self.kernel_size, padding=True).abs().mean()
