"""Build a network from its checkpoint alone."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
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
from usrdu_basicsr.utils.registry import build

Weights = Mapping[str, Tensor]
# What tells a network by its weights, though some be missing: those are named later
OF_DSN = ('log_scale_head.0.weight', 'feature_head.0.weight')
OF_RRDB = ('body.0.rdb1.conv1.weight', 'conv_body.weight', 'conv_up1.weight')
OF_SRVGG = ('body.0.weight', 'body.1.weight')


def load_dsn(path: str | Path, device: torch.device) -> UncertaintyDSN:
    """The DSN of a stage 1 checkpoint (its EMA weights if it has them), ready for inference.

    Raises:
        InputNotFoundError: There is no such file.
        InputError: It is damaged or holds no DSN.
    """
    weights = read_weights(path, 'params_ema', OF_DSN)
    if not _has_any(weights, OF_DSN):
        raise InputError(f"checkpoint '{path}' holds no UncertaintyDSN: give the net_g_*.pth of a stage 1 experiment")
    options = dsn_options(weights)
    if (options['num_in_ch'], options['num_out_ch']) != (3, 3):
        raise InputError(f"checkpoint '{path}' is of a DSN for {options['num_in_ch']} channels: expected 3 (RGB)")
    return _ready(UncertaintyDSN(**options), weights, path, device)


def dsn_options(weights: Weights) -> dict[str, Any]:
    """The arguments of `UncertaintyDSN` that its weights were made with."""
    return {
        'num_in_ch': _size(weights, 'conv_first.0.weight', 1, 3),
        'num_out_ch': _size(weights, 'log_scale_head.4.weight', 0, 3),
        'num_feat': _size(weights, OF_DSN[0], 0),
        'num_block': _count(weights, 'body'),
        'scale': 2 ** sum(name.startswith('down.') and value.ndim == 4 for name, value in weights.items()),
        'residual': 'conv_correction.weight' in weights,
    }


def load_generator(path: str | Path, device: torch.device, network: Mapping[str, Any] | None = None) -> nn.Module:
    """The SR network of a checkpoint (its EMA weights if it has them), ready for inference.

    Args:
        path: Stage 2's `net_g_*.pth`, or any file in BasicSR's format, Real-ESRGAN's among them; a published SR file.
        device: Where it shall run.
        network: `network_g` of the options, for architectures other than RRDBNet and SRVGGNetCompact, which are
            recognised.

    Returns:
        The network.

    Raises:
        InputNotFoundError: There is no such file.
        InputError: It is damaged, a DSN, or of an unknown architecture.
    """
    weights = read_weights(path, 'params_ema', OF_RRDB)
    if network is not None:
        return _ready(build(ARCH_REGISTRY, network, 'network_g: '), weights, path, device)
    if _has_any(weights, OF_DSN):
        raise InputError(f"checkpoint '{path}' is a stage 1 DSN, which reduces images: give stage 2's net_g_*.pth")
    if _has_any(weights, OF_RRDB):
        return _ready(RRDBNet(**_rrdb_options(weights)), weights, path, device)
    if all(name in weights for name in OF_SRVGG):
        return _ready(SRVGGNetCompact(**_srvgg_options(weights)), weights, path, device)
    raise InputError(f"checkpoint '{path}' is neither RRDBNet nor SRVGGNetCompact: name its options file with -opt")


def scale_of(network: nn.Module) -> int | None:
    """The scale that a network says it has, under either of the names that BasicSR's generators use, or None."""
    scale = getattr(network, 'upscale', getattr(network, 'scale', None))
    return scale if isinstance(scale, int) else None


def _rrdb_options(weights: Weights) -> dict[str, Any]:
    num_out_ch = _size(weights, 'conv_last.weight', 0, 3)
    # For scales 2 and 1 RRDBNet folds 2x2 and 4x4 pixels into channels, and enlarges four times all the same.
    fold = math.isqrt(_size(weights, 'conv_first.weight', 1, num_out_ch) // num_out_ch)
    return {
        'num_in_ch': num_out_ch,
        'num_out_ch': num_out_ch,
        'scale': 4 // max(fold, 1),
        'num_feat': _size(weights, OF_RRDB[0], 1),
        'num_block': _count(weights, 'body'),
        'num_grow_ch': _size(weights, OF_RRDB[0], 0),
    }


def _srvgg_options(weights: Weights) -> dict[str, Any]:
    num_feat, num_in_ch = _size(weights, 'body.0.weight', 0), _size(weights, 'body.0.weight', 1)
    last = _count(weights, 'body')  # convolutions and activations alternate, and every activation has weights (PReLU)
    return {
        'num_in_ch': num_in_ch,
        'num_out_ch': num_in_ch,
        'num_feat': num_feat,
        'num_conv': (last - 3) // 2,
        'upscale': math.isqrt(_size(weights, f'body.{last - 1}.weight', 0, num_in_ch) // num_in_ch),
        'act_type': 'prelu',
    }


def _size(weights: Weights, name: str, dimension: int, otherwise: int = 1) -> int:
    """Of a parameter along a dimension; `otherwise` if it is not there, which the check of the weights will tell."""
    shape = weights[name].shape if name in weights else ()
    return shape[dimension] if dimension < len(shape) and shape[dimension] > 0 else otherwise


def _has_any(weights: Weights, names: Sequence[str]) -> bool:
    return any(name in weights for name in names)


def _count(weights: Weights, prefix: str) -> int:
    return len({name.split('.')[1] for name in weights if name.startswith(f'{prefix}.')})


def _ready(network: nn.Module, weights: Weights, path: str | Path, device: torch.device) -> Any:
    check_weights(network, weights, path)
    network.load_state_dict(weights)
    return network.to(device).eval().requires_grad_(False)
