"""Build a network from its checkpoint alone.

spandrel detects more SR architectures, but returns its own network classes instead of BasicSR's and does not know DSNs.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from basicsr.archs.rrdbnet_arch import RRDBNet
from basicsr.archs.srvgg_arch import SRVGGNetCompact
from basicsr.utils.registry import ARCH_REGISTRY
from torch import Tensor, nn

from usrdu_basicsr.archs.dsn_arch import UncertaintyDSN
from usrdu_basicsr.utils.checkpoint import check_weights, read_weights
from usrdu_basicsr.utils.errors import InputError
from usrdu_basicsr.utils.registry import build_from_options

Weights = Mapping[str, Tensor]
# Any of the first two, or all of the third, identify an architecture. Missing weights are reported by check_weights.
DSN_WEIGHTS = ('log_scale_head.0.weight', 'feature_head.0.weight')
RRDB_WEIGHTS = ('body.0.rdb1.conv1.weight', 'conv_body.weight', 'conv_up1.weight')
SRVGG_WEIGHTS = ('body.0.weight', 'body.1.weight')


def load_dsn(path: str | Path, device: torch.device) -> UncertaintyDSN:
    """Load the DSN of a stage 1 checkpoint for inference, with its EMA weights if there are any.

    Raises:
        InputNotFoundError: If the file does not exist.
        InputError: If the file is corrupt or not a DSN.
    """
    weights = read_weights(path, 'params_ema', DSN_WEIGHTS)
    if weights.keys().isdisjoint(DSN_WEIGHTS):
        raise InputError(f"checkpoint '{path}' is not an UncertaintyDSN: expected net_g_*.pth of a stage 1 experiment")
    options = dsn_options(weights)
    if (options['num_in_ch'], options['num_out_ch']) != (3, 3):
        raise InputError(f"checkpoint '{path}': got a DSN for {options['num_in_ch']} channels, expected 3 (RGB)")
    return _load(UncertaintyDSN(**options), weights, path, device)


def dsn_options(weights: Weights) -> dict[str, Any]:
    """Constructor arguments of the `UncertaintyDSN` with these weights."""
    return {
        'num_in_ch': _size(weights, 'conv_first.0.weight', 1, 3),
        'num_out_ch': _size(weights, 'log_scale_head.4.weight', 0, 3),
        'num_feat': _size(weights, DSN_WEIGHTS[0], 0),
        'num_block': _count_body_modules(weights),
        'scale': 2 ** sum(name.startswith('down.') and value.ndim == 4 for name, value in weights.items()),
        'residual': 'conv_correction.weight' in weights,
    }


def load_generator(path: str | Path, device: torch.device, network: Mapping[str, Any] | None = None) -> nn.Module:
    """Load the SR network of a checkpoint for inference, with its EMA weights if there are any.

    Args:
        path: `net_g_*.pth` of stage 2, another file in BasicSR's format such as Real-ESRGAN's, or a published SR file.
        device: Device of the network.
        network: `network_g` of the options. None detects RRDBNet and SRVGGNetCompact from the weights.

    Raises:
        InputNotFoundError: If the file does not exist.
        InputError: If the file is corrupt, a DSN, or of an unknown architecture.
    """
    weights = read_weights(path, 'params_ema', RRDB_WEIGHTS)
    if network is not None:
        return _load(build_from_options(ARCH_REGISTRY, network, 'network_g: '), weights, path, device)
    if not weights.keys().isdisjoint(DSN_WEIGHTS):
        raise InputError(f"checkpoint '{path}' is a stage 1 DSN, which downsamples: expected net_g_*.pth of stage 2")
    if not weights.keys().isdisjoint(RRDB_WEIGHTS):
        return _load(RRDBNet(**_rrdb_options(weights)), weights, path, device)
    if weights.keys() >= set(SRVGG_WEIGHTS):
        return _load(SRVGGNetCompact(**_srvgg_options(weights)), weights, path, device)
    raise InputError(f"checkpoint '{path}' is neither RRDBNet nor SRVGGNetCompact. Pass its options file with -opt")


def scale_of(network: nn.Module) -> int | None:
    """Scale attribute of a network (`upscale` or `scale` in BasicSR's generators), or None."""
    scale = getattr(network, 'upscale', getattr(network, 'scale', None))
    return scale if isinstance(scale, int) else None


def _rrdb_options(weights: Weights) -> dict[str, Any]:
    num_out_ch = _size(weights, 'conv_last.weight', 0, 3)
    # RRDBNet always upscales 4 times. For scales 2 and 1 it first unshuffles 2x2 or 4x4 pixels into channels.
    unshuffle = math.isqrt(_size(weights, 'conv_first.weight', 1, num_out_ch) // num_out_ch)
    return {
        'num_in_ch': num_out_ch,
        'num_out_ch': num_out_ch,
        'scale': 4 // max(unshuffle, 1),
        'num_feat': _size(weights, RRDB_WEIGHTS[0], 1),
        'num_block': _count_body_modules(weights),
        'num_grow_ch': _size(weights, RRDB_WEIGHTS[0], 0),
    }


def _srvgg_options(weights: Weights) -> dict[str, Any]:
    num_feat, num_in_ch = _size(weights, 'body.0.weight', 0), _size(weights, 'body.0.weight', 1)
    count = _count_body_modules(weights)  # convolutions alternate with PReLUs, which have weights too
    return {
        'num_in_ch': num_in_ch,
        'num_out_ch': num_in_ch,
        'num_feat': num_feat,
        'num_conv': (count - 3) // 2,
        'upscale': math.isqrt(_size(weights, f'body.{count - 1}.weight', 0, num_in_ch) // num_in_ch),
        'act_type': 'prelu',
    }


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
