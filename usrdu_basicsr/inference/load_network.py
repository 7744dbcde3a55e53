"""Load networks from their checkpoints alone, and measure their properties.

RRDBNet and SRVGGNetCompact are BasicSR's classes; spandrel, which returns its own classes, detects others.
"""

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from basicsr.archs.rrdbnet_arch import RRDBNet
from basicsr.archs.srvgg_arch import SRVGGNetCompact
from basicsr.utils.registry import ARCH_REGISTRY
from torch import Tensor, nn

from usrdu_basicsr.archs.dsn_arch import UncertaintyDSN
from usrdu_basicsr.archs.kernel_dsn_arch import KernelDSN
from usrdu_basicsr.archs.spandrel_arch import SRProperties, published_network, read_safetensors
from usrdu_basicsr.utils.checkpoint import check_weights, read_weights
from usrdu_basicsr.utils.errors import InputError, first_line
from usrdu_basicsr.utils.registry import build_from_options

Weights = Mapping[str, Tensor]
DSN = UncertaintyDSN | KernelDSN
# One name of the first two architectures, or all names of the third, identify it. check_weights reports missing names.
DSN_WEIGHTS = ('log_scale_head.0.weight', 'feature_head.0.weight')
RRDB_WEIGHTS = ('body.0.rdb1.conv1.weight', 'conv_body.weight', 'conv_up1.weight')
SRVGG_WEIGHTS = ('body.0.weight', 'body.1.weight')
TEST_SIDE = 32
# Memory beyond the largest layer: features kept for later layers, workspace of the convolution
MEMORY_FACTOR = 2


def load_dsn(path: str | Path, device: torch.device) -> DSN:
    """Load the DSN of a stage 1 checkpoint or of a measured camera for inference, with its EMA weights if it has any.

    Raises:
        InputNotFoundError: If the file does not exist.
        InputError: If the file is corrupt or not a DSN.
    """
    weights = read_weights(path, 'params_ema', DSN_WEIGHTS)
    if 'kernel' in weights:
        return _load(build_dsn(weights), weights, path, device)
    if weights.keys().isdisjoint(DSN_WEIGHTS):
        raise InputError(f"checkpoint '{path}' is not an UncertaintyDSN: expected net_g_*.pth of a stage 1 experiment")
    options = dsn_options(weights)
    if (options['num_in_ch'], options['num_out_ch']) != (3, 3):
        raise InputError(f"checkpoint '{path}': got a DSN for {options['num_in_ch']} channels, expected 3 (RGB)")
    return _load(build_dsn(weights), weights, path, device)


def build_dsn(weights: Weights) -> DSN:
    """Build the network that these weights fit; they are not loaded."""
    options = dsn_options(weights)
    return KernelDSN(**options) if 'kernel' in weights else UncertaintyDSN(**options)


def dsn_options(weights: Weights) -> dict[str, Any]:
    """Constructor arguments of the `UncertaintyDSN` or `KernelDSN` with these weights."""
    if 'kernel' in weights:
        size = _size(weights, 'kernel', 0)
        return {'kernel_size': size, 'scale': size // 8}  # see `degradation.blur_kernel.hr_kernel`
    return {
        'num_in_ch': _size(weights, 'conv_first.0.weight', 1, 3),
        'num_out_ch': _size(weights, 'log_scale_head.4.weight', 0, 3),
        'num_feat': _size(weights, DSN_WEIGHTS[0], 0),
        'num_block': _count_body_modules(weights),
        'scale': 2 ** sum(name.startswith('down.') and value.ndim == 4 for name, value in weights.items()),
        'residual': 'conv_correction.weight' in weights,
        'kernel_size': _size(weights, 'base_kernel', 0, 0),
        'calibrated': 'camera_noise.taps' in weights,
    }


def load_generator(path: str | Path, device: torch.device, network: Mapping[str, Any] | None = None) -> nn.Module:
    """Load the SR network of a checkpoint for inference, with its EMA weights if there are any.

    Args:
        path: `net_g_*.pth` of stage 2, another file in BasicSR's format such as Real-ESRGAN's, or a published SR file.
        device: Device of the network.
        network: `network_g` of the options. None detects RRDBNet, SRVGGNetCompact and, if spandrel is installed, its
            architectures from the weights.

    Raises:
        InputNotFoundError: If the file does not exist.
        InputError: If the file is corrupt, a DSN, or of an unknown architecture.
    """
    if Path(path).suffix == '.safetensors':
        weights = read_safetensors(Path(path).expanduser())
    else:
        weights = read_weights(path, 'params_ema', RRDB_WEIGHTS)
    if network is not None:
        return _load(build_from_options(ARCH_REGISTRY, network, 'network_g: '), weights, path, device)
    if not weights.keys().isdisjoint((*DSN_WEIGHTS, 'kernel')):
        kind = 'measured camera' if 'kernel' in weights else 'stage 1 DSN'
        raise InputError(f"checkpoint '{path}' is a {kind}, which downsamples: expected net_g_*.pth of stage 2")
    if not weights.keys().isdisjoint(RRDB_WEIGHTS):
        return _load(_build_rrdb(weights), weights, path, device)
    if weights.keys() >= set(SRVGG_WEIGHTS):
        return _load(_build_srvgg(weights), weights, path, device)
    try:
        return published_network(weights, path).to(device).requires_grad_(False)
    except InputError as error:
        problem = f"checkpoint '{path}' is neither RRDBNet nor SRVGGNetCompact"
        raise InputError(f'{problem}. Scripts need its options file: -opt ({error})') from error


def _build_rrdb(weights: Weights) -> RRDBNet:
    channels = _size(weights, 'conv_last.weight', 0, 3)
    num_grow_ch, num_feat = (_size(weights, RRDB_WEIGHTS[0], dimension) for dimension in (0, 1))
    # RRDBNet always upscales 4 times. For scales 2 and 1 it first unshuffles 2x2 or 4x4 pixels into channels.
    unshuffle = math.isqrt(_size(weights, 'conv_first.weight', 1, channels) // channels)
    scale = 4 // max(unshuffle, 1)
    return RRDBNet(channels, channels, scale, num_feat, _count_body_modules(weights), num_grow_ch)


def _build_srvgg(weights: Weights) -> SRVGGNetCompact:
    num_feat, channels = (_size(weights, SRVGG_WEIGHTS[0], dimension) for dimension in (0, 1))
    count = _count_body_modules(weights)  # convolutions alternate with PReLUs, which have weights too
    upscale = math.isqrt(_size(weights, f'body.{count - 1}.weight', 0, channels) // channels)
    return SRVGGNetCompact(channels, channels, num_feat, num_conv=(count - 3) // 2, upscale=upscale)


def _size(weights: Weights, name: str, dimension: int, default: int = 1) -> int:
    """Size of a weight along a dimension, or `default` if it is missing, which `check_weights` reports later."""
    shape = weights[name].shape if name in weights else ()
    return shape[dimension] if dimension < len(shape) and shape[dimension] > 0 else default


def _count_body_modules(weights: Weights) -> int:
    return len({name.split('.')[1] for name in weights if name.startswith('body.')})


def _load(network: nn.Module, weights: Weights, path: str | Path, device: torch.device) -> Any:
    check_weights(network, weights, path)
    network.load_state_dict(weights)
    return network.to(device).eval().requires_grad_(False)


def scale_of(network: nn.Module) -> int | None:
    """Scale attribute of a network (`upscale` or `scale` in BasicSR's generators), or None."""
    if isinstance(properties := getattr(network, 'sr_properties', None), SRProperties):
        return properties.scale
    scale = getattr(network, 'upscale', getattr(network, 'scale', None))
    return scale if isinstance(scale, int) else None


def size_multiple(network: nn.Module) -> int:
    """Number that the input height and width of an SR network must be multiples of."""
    if isinstance(properties := getattr(network, 'sr_properties', None), SRProperties):
        return properties.size_multiple
    if isinstance(network, RRDBNet):
        return {2: 2, 1: 4}.get(network.scale, 1)  # pixel unshuffle of 2x2 or 4x4 pixels
    windows = (getattr(module, 'window_size', 1) for module in network.modules())  # attention windows of SwinIR
    return max(window for window in windows if isinstance(window, int))


def probe(run: Callable[[Tensor], Tensor], network: nn.Module, device: torch.device) -> tuple[int, int]:
    """Measure the scale and the memory use of an SR network.

    Args:
        run: Function that calls the network.
        network: The network, whose layers are observed.
        device: Device of the network.

    Returns:
        Scale, and bytes of memory for each input pixel.

    Raises:
        InputError: If the network does not take RGB images, does not upscale them by an integer, or upscales them by
            another factor than its scale attribute says.
    """
    multiple = size_multiple(network)
    side = -(-TEST_SIDE // multiple) * multiple
    layer_bytes = [0]
    name = type(network).__name__
    expected = f'expected an SR network for RGB images, (N, 3, H, W), tested on {side}x{side} pixels'

    def measure(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        layer_bytes.append(sum(value.nbytes for value in (*inputs, output) if isinstance(value, Tensor)))

    hooks = [module.register_forward_hook(measure) for module in network.modules() if not list(module.children())]
    try:
        with torch.inference_mode():
            y = run(torch.zeros(1, 3, side, side, device=device))
    except (RuntimeError, ValueError) as error:
        raise InputError(f'{name} cannot upscale a test image ({first_line(error)}): {expected}') from error
    finally:
        for hook in hooks:
            hook.remove()
    scale = y.shape[-1] // side if isinstance(y, Tensor) and y.ndim == 4 else 0
    if not scale or y.shape != (1, 3, side * scale, side * scale):
        result = f'shape {list(y.shape)}' if isinstance(y, Tensor) else f'a {type(y).__name__}'
        raise InputError(f'{name} returns {result} for shape [1, 3, {side}, {side}]: {expected}')
    if scale_of(network) not in (None, scale):
        raise InputError(f'{name}: got scale {scale_of(network)}, expected {scale} as measured. Correct its options')
    return scale, MEMORY_FACTOR * max(layer_bytes) // side**2
