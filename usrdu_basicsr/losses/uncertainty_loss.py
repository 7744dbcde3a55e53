"""Uncertainty losses of stage 1, on pixels and on perceptual features."""

import torch
from basicsr.utils.registry import LOSS_REGISTRY
from torch import Tensor, nn

from usrdu_basicsr.losses.vgg_features import VGGFeatures
from usrdu_basicsr.ops.filters import check_kernel_size, low_pass
from usrdu_basicsr.ops.laplace import uncertainty_term


@LOSS_REGISTRY.register()
class LaplaceKLLoss(nn.Module):
    """KL divergence of Laplace(mean, b) from Laplace(target, 1), with the distance term on low-passed images (USR-DU).

    The low frequencies of the mean follow the reference downsampling. The high frequencies, which contain the camera's
    degradation, are free; the scale b learns their distance from the reference.

    Args:
        loss_weight: Factor of the loss.
        kernel_size: Taps of the low-pass, odd.
    """

    def __init__(self, loss_weight: float = 1.0, kernel_size: int = 5) -> None:
        super().__init__()
        self.loss_weight = loss_weight
        check_kernel_size(kernel_size)
        self.kernel_size = kernel_size

    def forward(self, pred: Tensor, target: Tensor, log_scale: Tensor) -> Tensor:
        """Compute the scalar loss of a batch.

        Args:
            pred: Generated mean, `(N, C, H, W)` in [0, 1], H and W >= `kernel_size`.
            target: Reference downsampling, same shape and range.
            log_scale: log b in 8-bit units, same shape.
        """
        content = low_pass(pred - target, self.kernel_size).abs().mean() * 255
        uncertainty = uncertainty_term((pred - target).abs() * 255, log_scale).mean()
        return self.loss_weight * (content + uncertainty) / 255


@LOSS_REGISTRY.register()
class UncertaintyPerceptualLoss(nn.Module):
    """KL divergence of Laplace distributions of VGG features, each with its own learned scale (USR-DU).

    Args:
        loss_weight: Factor of the loss.
        vgg_type: VGG network, see `VGGFeatures`.
        layer: Feature layer with 512 channels at 1/16 of the image size, such as `conv5_4`.
        weights: `imagenet`, `random` or a file, see `VGGFeatures`.
    """

    def __init__(
        self, loss_weight: float = 1.0, vgg_type: str = 'vgg19', layer: str = 'conv5_4', weights: str = 'imagenet'
    ) -> None:
        super().__init__()
        self.loss_weight = loss_weight
        self.vgg = VGGFeatures(vgg_type, layer, weights)

    def forward(self, pred: Tensor, target: Tensor, feature_log_scale: Tensor) -> Tensor:
        """Compute the scalar loss of a batch.

        Args:
            pred: Generated mean, `(N, 3, H, W)`, RGB in [0, 1].
            target: Reference downsampling, same shape and range; it receives no gradient.
            feature_log_scale: log b in units of features * 0.5 * 255, `(N, 512, H // 16, W // 16)`.

        Raises:
            ValueError: If the shape of `feature_log_scale` differs from that of the features.
        """
        with torch.no_grad():
            target_features = self.vgg(target)
        # Features are mapped to f / 2 + 1 / 2 in 8-bit units. The offset cancels in their distance.
        distance = (self.vgg(pred) - target_features).abs() * (0.5 * 255)
        if feature_log_scale.shape != distance.shape:
            raise ValueError(
                f'feature_log_scale: got shape {tuple(feature_log_scale.shape)}, expected that of the features'
                f' {tuple(distance.shape)}. Use a layer with 512 channels at 1/16 of the image size, such as conv5_4'
            )
        return self.loss_weight * (distance + uncertainty_term(distance, feature_log_scale)).mean() / 255
