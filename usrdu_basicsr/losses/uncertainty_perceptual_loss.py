"""The uncertainty loss of stage 1 on perceptual features."""

from __future__ import annotations

import torch
from basicsr.utils.registry import LOSS_REGISTRY
from torch import Tensor, nn

from usrdu_basicsr.losses.vgg_features import VGGFeatures
from usrdu_basicsr.ops.laplace import uncertainty_term


@LOSS_REGISTRY.register()
class UncertaintyPerceptualLoss(nn.Module):
    """KL divergence of Laplace distributions over VGG features, each feature with its own learned scale (USR-DU).

    Args:
        loss_weight: Factor of the loss.
        vgg_type: Network, see `VGGFeatures`.
        layer: Feature layer of 512 channels at a 16th of the size, such as `conv5_4`.
        weights: `imagenet`, `random` or a file, see `VGGFeatures`.
    """

    def __init__(
        self,
        loss_weight: float = 1.0,
        vgg_type: str = 'vgg19',
        layer: str = 'conv5_4',
        weights: str = 'imagenet',
    ) -> None:
        super().__init__()
        self.loss_weight = loss_weight
        self.vgg = VGGFeatures(vgg_type, layer, weights)

    def forward(self, pred: Tensor, target: Tensor, feature_log_scale: Tensor) -> Tensor:
        """Loss of a batch.

        Args:
            pred: Generated mean, `(N, 3, H, W)`, RGB in [0, 1].
            target: Reference downsampling, the same shape and range; no gradient reaches it.
            feature_log_scale: log b in units of features * 0.5 * 255, `(N, 512, H // 16, W // 16)`.

        Returns:
            Scalar.

        Raises:
            ValueError: The log-scale is not of the features' shape.
        """
        with torch.no_grad():
            target_features = self.vgg(target)
        # Features are read as f / 2 + 1 / 2 in 8-bit units; the offset cancels in their distance.
        distance = (self.vgg(pred) - target_features).abs() * (0.5 * 255)
        if feature_log_scale.shape != distance.shape:
            raise ValueError(
                f'feature_log_scale has shape {tuple(feature_log_scale.shape)}, the features {tuple(distance.shape)}:'
                ' choose a layer of 512 channels at a 16th of the size, such as conv5_4'
            )
        return self.loss_weight * (distance + uncertainty_term(distance, feature_log_scale)).mean() / 255
