"""Any published SR network that spandrel reads, to adapt it to a camera."""

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from basicsr.utils.registry import ARCH_REGISTRY
from torch import Tensor, nn

from usrdu_basicsr.utils.checkpoint import read_weights
from usrdu_basicsr.utils.errors import InputError, first_line, not_found

INSTALL = "Run pip install 'usrdu_basicsr[spandrel]'"
TEST_SIDE = 32  # pixels


@dataclass(frozen=True)
class SRProperties:
    """What the descriptor of spandrel says of a network.

    Attributes:
        scale: Upscaling factor.
        size_multiple: Number that the height and width of the input must be multiples of.
        architecture: Name of the architecture, such as `SPAN`.
    """

    scale: int
    size_multiple: int
    architecture: str


@ARCH_REGISTRY.register()
def SpandrelArch(path: str) -> nn.Module:
    """Network of a published model (ESRGAN, Real-ESRGAN, SwinIR, HAT, DAT, SPAN, …), with its weights.

    The architecture is detected from the names and shapes of the weights (https://github.com/chaiNNer-org/spandrel). A
    trained network keeps them, so that every program based on spandrel reads it.

    Args:
        path: `.pth` or `.safetensors` file of a model that spandrel reads; its averaged weights if it has any.

    Returns:
        Network for RGB images in [0, 1], with the attribute `sr_properties`, an `SRProperties`.

    Raises:
        InputNotFoundError: If the file does not exist.
        InputError: If spandrel is not installed or does not know the architecture, or the model is not for RGB images.
    """
    file = Path(path).expanduser()
    weights = read_safetensors(file) if file.suffix == '.safetensors' else read_weights(file, 'params_ema', ())
    network = published_network(weights, path)
    _freeze_unused(network, path)
    return network.train()


def published_network(weights: Mapping[str, Tensor], path: str | Path) -> nn.Module:
    """Network of these weights, in evaluation mode.

    Args:
        weights: State dict.
        path: Its file, for messages.

    Returns:
        Network as of `SpandrelArch`.

    Raises:
        InputError: As `SpandrelArch`.
    """
    try:
        from spandrel import ImageModelDescriptor, ModelLoader, UnsupportedModelError
    except ImportError as error:
        raise InputError(f'SpandrelArch needs the package spandrel ({error}). {INSTALL}') from error
    try:
        descriptor = ModelLoader('cpu').load_from_state_dict(dict(weights))
    except (UnsupportedModelError, RuntimeError, ValueError, KeyError) as error:  # weights may resemble an architecture
        problem = first_line(error) if str(error) else 'unknown architecture'
        raise InputError(f"model '{path}' is not one that spandrel reads ({problem}). Choose another model") from error
    channels = (descriptor.input_channels, descriptor.output_channels)
    if not isinstance(descriptor, ImageModelDescriptor) or channels != (3, 3):
        got = f'{descriptor.architecture.name} of {channels[0]} to {channels[1]} channels'
        raise InputError(f"model '{path}': got {got}, expected an SR network for RGB images. Choose another model")
    network, needed = descriptor.model, descriptor.size_requirements
    network.sr_properties = SRProperties(
        descriptor.scale, max(needed.multiple_of, needed.minimum, 1), descriptor.architecture.id
    )
    return network.eval()


def read_safetensors(file: Path) -> dict[str, Tensor]:
    """Read the state dict of a published model; an InputNotFoundError or InputError if it is missing or corrupt."""
    if not file.is_file():
        raise not_found(f"model '{file}'")
    try:
        from safetensors import SafetensorError
        from safetensors.torch import load_file
    except ImportError as error:
        raise InputError(f'.safetensors files need the package safetensors ({error}). {INSTALL}') from error
    try:
        return load_file(file)
    except (SafetensorError, OSError) as error:
        raise InputError(f"cannot read model '{file}': corrupt or not a model ({first_line(error)})") from error


def _freeze_unused(network: nn.Module, path: str) -> None:
    """Refuse a network that needs more than a call, and freeze parameters that training does not use.

    Distributed training requires the latter; SPAN has some that it computes from others.
    """
    properties: Any = network.sr_properties
    side = -(-TEST_SIDE // properties.size_multiple) * properties.size_multiple
    with torch.random.fork_rng(devices=[]):
        trained = deepcopy(network).train()  # a call may change running statistics
        output = trained(torch.zeros(1, 3, side, side))
    expected = (1, 3, properties.scale * side, properties.scale * side)
    if not isinstance(output, Tensor) or output.shape != expected:
        got = f'shape {tuple(output.shape)}' if isinstance(output, Tensor) else f'a {type(output).__name__}'
        name = type(network).__name__
        raise InputError(f"model '{path}': {name} returns {got}, expected shape {expected}. Choose another model")
    output.sum().backward()
    for parameter, used in zip(network.parameters(), trained.parameters(), strict=True):
        parameter.requires_grad_(used.grad is not None)
