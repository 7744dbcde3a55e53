"""Low-frequency loss of stage 2."""

from basicsr.utils.registry import LOSS_REGISTRY
from torch import Tensor, nn

from usrdu_basicsr.ops.filters import check_kernel_size, low_pass


@LOSS_REGISTRY.register()
class LowFrequencyLoss(nn.Module):
    """L1 distance of Gaussian low-passed images, which preserves colours and shapes in GAN training.

    Args:
        loss_weight: Factor of the loss.
        kernel_size: Taps of the low-pass, odd; borders are zero padded.
    """

    def __init__(self, loss_weight: float = 1.0, kernel_size: int = 9) -> None:
        super().__init__()
        self.loss_weight = loss_weight
        check_kernel_size(kernel_size)
        self.kernel_size = kernel_size

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        """Compute the scalar loss of images `(N, C, H, W)` in [0, 1]."""
        return self.loss_weight * low_pass(pred - target, self.kernel_size, padding=True).abs().mean()
