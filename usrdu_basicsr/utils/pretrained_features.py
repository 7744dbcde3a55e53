"""Feature layers of torchvision's networks with weights from torchvision, from a file, or random."""

from pathlib import Path
from urllib.parse import urlsplit

import torch
import torchvision
from torch import Tensor, nn

from usrdu_basicsr.utils.checkpoint import LOAD_ERRORS, read_checkpoint
from usrdu_basicsr.utils.errors import InputError, InputNotFoundError, first_line


def load_features(network: str, weights: str, depth: int | None = None) -> nn.Module:
    """Build the first `depth` feature layers of a network of torchvision, frozen, in evaluation mode and in float32.

    Args:
        network: Name in `torchvision.models` of a network with an attribute `features`, such as `vgg16` or `alexnet`.
        weights: `imagenet` (torchvision's, downloaded once), `random` (seeded), or the path of a torchvision state dict
            with names `features.*` or `N.weight`, of any floating-point type.
        depth: Number of layers; all by default.

    Raises:
        InputError: If the weights cannot be downloaded, or their file does not fit.
        InputNotFoundError: If the file does not exist.
    """
    with torch.device('meta'):  # avoids allocating the large classifier
        layers: nn.Module = getattr(torchvision.models, network)(weights=None).features[:depth]
    shapes = {name: value.shape for name, value in layers.state_dict().items()}
    if weights == 'random':
        state = _random_weights(shapes)
    elif weights == 'imagenet':
        state = _imagenet_weights(network)
    elif Path(weights).expanduser().is_file():
        state = read_checkpoint(weights)
    else:
        raise InputNotFoundError(f"weights: file '{weights}' does not exist. Use 'imagenet', 'random' or a state dict")
    state = {name.removeprefix('features.'): value for name, value in state.items()}
    wrong = [name for name, shape in shapes.items() if name not in state or state[name].shape != shape]
    if wrong:
        raise InputError(
            f"weights: '{weights}' does not fit {network}: features.{wrong[0]} is missing or of another shape"
        )
    layers.load_state_dict({name: state[name].float() for name in shapes}, assign=True)
    return layers.requires_grad_(False).eval()


def cached_weights_path(network: str) -> Path:
    """Path at which torchvision keeps the ImageNet weights of a network after downloading them."""
    url = torchvision.models.get_model_weights(network)['IMAGENET1K_V1'].url
    return Path(torch.hub.get_dir(), 'checkpoints', Path(urlsplit(url).path).name)


def _imagenet_weights(network: str) -> dict[str, Tensor]:
    try:
        return torchvision.models.get_model_weights(network)['IMAGENET1K_V1'].get_state_dict(check_hash=True)
    except LOAD_ERRORS as error:  # no network, a full disk, an incomplete file
        raise InputError(
            f"weights: cannot load torchvision's ImageNet weights of {network} ({first_line(error)}). Connect to the"
            f" internet, copy them to '{cached_weights_path(network)}', or use the path of a state dict as weights"
        ) from error


def _random_weights(shapes: dict[str, torch.Size]) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {
        name: torch.randn(shape, generator=generator) * (2 / shape[1:].numel()) ** 0.5  # He et al., 2015
        if len(shape) > 1
        else torch.zeros(shape)
        for name, shape in shapes.items()
    }
