"""Frozen VGG features with weights from torchvision, from a file, or random."""

from pathlib import Path

import torch
import torchvision
from basicsr.archs.vgg_arch import NAMES
from torch import Tensor, nn

from usrdu_basicsr.utils.checkpoint import read_checkpoint
from usrdu_basicsr.utils.errors import InputError, InputNotFoundError


class VGGFeatures(nn.Module):
    """VGG up to one layer, for images normalised with the statistics of ImageNet.

    BasicSR's `VGGFeatureExtractor` computes the same features, but supports no user-defined weights file.

    Args:
        vgg_type: `vgg11`, `vgg13`, `vgg16` or `vgg19`.
        layer: Layer name as in BasicSR, such as `conv5_4` (before its ReLU).
        weights: `imagenet` (torchvision's, downloaded once), `random` (seeded), or the path of a torchvision state dict
            with names `features.*` or `N.weight`, of any floating-point type.

    Raises:
        InputError: If `vgg_type` or `layer` is unknown, or the weights file does not fit.
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
        with torch.device('meta'):  # avoids allocating the large classifier
            self.layers = getattr(torchvision.models, vgg_type)(weights=None).features[:depth]
        self.layers.load_state_dict(_load_weights(self.layers, vgg_type, weights), assign=True)
        self.layers.requires_grad_(False).eval()
        self.register_buffer('mean', torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1))
        self.register_buffer('std', torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Compute the features `(N, C, h, w)` of RGB images `(N, 3, H, W)` in [0, 1]."""
        return self.layers((x - self.mean) / self.std)


def _load_weights(layers: nn.Module, vgg_type: str, weights: str) -> dict[str, Tensor]:
    """State dict of `layers` in float32."""
    shapes = {name: value.shape for name, value in layers.state_dict().items()}
    if weights == 'random':
        generator = torch.Generator().manual_seed(0)
        return {
            name: torch.randn(shape, generator=generator) * (2 / shape[1:].numel()) ** 0.5  # He et al., 2015
            if len(shape) > 1
            else torch.zeros(shape)
            for name, shape in shapes.items()
        }
    if weights == 'imagenet':
        state = torchvision.models.get_model_weights(vgg_type)['IMAGENET1K_V1'].get_state_dict(check_hash=True)
    elif Path(weights).expanduser().is_file():
        state = read_checkpoint(weights)
    else:
        raise InputNotFoundError(f"weights: file '{weights}' does not exist. Use 'imagenet', 'random' or a state dict")
    state = {name.removeprefix('features.'): value for name, value in state.items()}
    wrong = [name for name, shape in shapes.items() if name not in state or state[name].shape != shape]
    if wrong:
        raise InputError(
            f"weights: '{weights}' does not fit {vgg_type}: features.{wrong[0]} is missing or of another shape"
        )
    return {name: state[name].float() for name in shapes}
