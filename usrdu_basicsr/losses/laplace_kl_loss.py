"""The uncertainty loss of stage 1 on pixels."""

from __future__ import annotations

from basicsr.utils.registry import LOSS_REGISTRY
from torch import Tensor, nn

from usrdu_basicsr.ops.filters import low_pass
from usrdu_basicsr.ops.laplace import uncertainty_term


@LOSS_REGISTRY.register()
class LaplaceKLLoss(nn.Module):
    """KL divergence from Laplace(mean, b) to Laplace(target, 1), the distance term on low-passed images (USR-DU).

    The mean is held to the reference downsampling where the eye sees content, and stays free in the high
    frequencies, where the camera's degradation lives; the scale b learns how far it departs there.

    Args:
        loss_weight: Factor of the loss.
        kernel_size: Taps of the low-pass, odd.
    """

    def __init__(self, loss_weight: float = 1.0, kernel_size: int = 5) -> None:
        super().__init__()
        self.loss_weight = loss_weight
        self.kernel_size = kernel_size

    def forward(self, pred: Tensor, target: Tensor, log_scale: Tensor) -> Tensor:
        """Loss of a batch.

        Args:
            pred: Generated mean, `(N, C, H, W)` in [0, 1].
            target: Reference downsampling, the same shape and range.
            log_scale: log b in 8-bit units, the same shape.

        Returns:
            Scalar.

        Raises:
            ValueError: `kernel_size` is even.
            RuntimeError: The images are smaller than the low-pass.
        """
        content = low_pass(pred - target, self.kernel_size).abs().mean() * 255
        uncertainty = uncertainty_term((pred - target).abs() * 255, log_scale).mean()
        return self.loss_weight * (content + uncertainty) / 255
