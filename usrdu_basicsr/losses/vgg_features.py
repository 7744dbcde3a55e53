"""Frozen VGG features with weights from torchvision, from a file, or random."""

import torch
from basicsr.archs.vgg_arch import NAMES
from torch import Tensor, nn

from usrdu_basicsr.utils.errors import InputError
from usrdu_basicsr.utils.pretrained_features import load_features


class VGGFeatures(nn.Module):
    """VGG up to one layer, for images normalised with the statistics of ImageNet.

    BasicSR's `VGGFeatureExtractor` computes the same features, but supports no user-defined weights file.

    Args:
        vgg_type: `vgg11`, `vgg13`, `vgg16` or `vgg19`.
        layer: Layer name as in BasicSR, such as `conv5_4` (before its ReLU).
        weights: `imagenet`, `random` or a file, see `load_features`.

    Raises:
        InputError: If `vgg_type` or `layer` is unknown, or the weights cannot be downloaded or do not fit.
        InputNotFoundError: If the weights file does not exist.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, vgg_type: str = 'vgg19', layer: str = 'conv5_4', weights: str = 'imagenet') -> None:
        super().__init__()
        if vgg_type not in NAMES:
            raise InputError(f'vgg_type: got {vgg_type!r}, expected one of {", ".join(NAMES)}')
        if layer not in NAMES[vgg_type]:
            raise InputError(f'layer: got {layer!r}, expected a layer of {vgg_type}: {", ".join(NAMES[vgg_type])}')
        depth = NAMES[vgg_type].index(layer) + 1
        self.layers = load_features(vgg_type, weights, depth)
        self.register_buffer('mean', torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1))
        self.register_buffer('std', torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Compute the features `(N, C, h, w)` of RGB images `(N, 3, H, W)` in [0, 1]."""
        return self.layers((x - self.mean) / self.std)
