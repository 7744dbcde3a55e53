"""Weights, images and results of the published implementation, for numerical comparison.

The weights of the published run are a function of each parameter's published name, and its images are a function of a
seed. `vectors/*.npz` contain the results (PyTorch, CPU, float32).
"""

import json
import re
import zlib
from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

VECTORS = Path(__file__).parent / 'vectors'


@cache
def vectors(name: str) -> dict[str, np.ndarray]:
    with np.load(VECTORS / f'{name}.npz') as arrays:
        return dict(arrays)


def relative_error(got: Tensor | np.ndarray | float, expected: np.ndarray | float) -> float:
    """Maximum absolute difference, relative to the maximum absolute expected value."""
    got, expected = np.asarray(got, np.float64), np.asarray(expected, np.float64)
    assert got.shape == expected.shape
    return float(np.abs(got - expected).max() / np.abs(expected).max())


def seeded_tensor(name: str, shape: torch.Size) -> Tensor:
    """Normal random tensor seeded by the parameter's name: weights / sqrt(fan-in), vectors * 0.01."""
    x = np.random.RandomState(zlib.crc32(name.encode())).standard_normal(shape)
    x = x * np.sqrt(1.0 / np.prod(shape[1:])) if len(shape) > 1 else 0.01 * x
    return torch.from_numpy(x.astype(np.float32))


def load_generator(net: nn.Module, published_name) -> nn.Module:
    """Load the published weights into a generator; one-element vectors are PReLU slopes."""
    net.load_state_dict(
        {
            name: torch.full(value.shape, 0.25)
            if value.shape == (1,)
            else seeded_tensor(published_name(name), value.shape)
            for name, value in net.state_dict().items()
        }
    )
    return net


def load_discriminator(net: nn.Module) -> nn.Module:
    """Load the published weights into BasicSR's U-Net discriminator; spectral-norm vectors have unit length."""
    state = {name: seeded_tensor(f'D.{name}', value.shape) for name, value in net.state_dict().items()}
    net.load_state_dict({k: v / v.norm() if k.endswith(('weight_u', 'weight_v')) else v for k, v in state.items()})
    return net


def vgg_state(features: nn.Module) -> dict[str, Tensor]:
    """Weights of torchvision's `vgg19().features`."""
    return {
        name: seeded_tensor(f'V.features.{name}', value.shape) * (1.4142 if value.ndim > 1 else 1)
        for name, value in features.state_dict().items()
    }


def dsn_name(name: str) -> str:
    """Published name of a parameter of `UncertaintyDSN`."""
    for part, published_part in {
        'conv_first': 'block_input',
        'body': 'res_blocks',
        'act': 'prelu',
        'down.': 'down_sample.',
        'conv_mean': 'block_output',
        'log_scale_head': 'var',
        'feature_head': 'per_var',
    }.items():
        name = name.replace(part, published_part)
    return name


def rrdb_name(name: str) -> str:
    """Published (original ESRGAN) name of a parameter of BasicSR's `RRDBNet`."""
    name = re.sub(r'body\.(\d+)\.rdb(\d)', r'RRDB_trunk.\1.RDB\2', name)
    name = name.replace('conv_body', 'trunk_conv').replace('conv_up', 'upconv').replace('conv_hr', 'HRconv')
    return name


def image(seed: int, n: int, h: int, w: int) -> Tensor:
    """Images (n, 3, h, w) in [0, 1]: six sinusoids per channel and weak noise."""
    rs = np.random.RandomState(seed)
    y, x = np.mgrid[0:h, 0:w].astype(np.float64)
    out = np.zeros((n, 3, h, w))
    for i in range(n):
        for c in range(3):
            a = np.full((h, w), 0.5)
            for _ in range(6):
                fx, fy, phase, size = (rs.uniform(*r) for r in ((0.005, 0.25), (0.005, 0.25), (0, 6.28), (0.03, 0.12)))
                a = a + size * np.sin(2 * np.pi * (fx * x + fy * y) + phase)
            out[i, c] = a + 0.02 * rs.standard_normal((h, w))
    return torch.from_numpy(np.clip(out, 0, 1).astype(np.float32))


@cache
def published_weights(name: str, prefix: str = '') -> dict[str, Tensor]:
    """Weights with the names in `official_<name>_keys.json` that start with `prefix`, without the prefix."""
    shapes = json.loads((VECTORS / f'official_{name}_keys.json').read_text())
    weights = {}
    for key, shape in shapes.items():
        if key.startswith(prefix):
            key = key.removeprefix(prefix)
            weights[key] = torch.full(shape, 0.25) if shape == [1] else seeded_tensor(key, torch.Size(shape))
    return weights


@cache
def published_discriminator() -> dict[str, Tensor]:
    shapes = json.loads((VECTORS / 'official_discriminator_keys.json').read_text())
    state = {key: seeded_tensor(f'D.{key}', torch.Size(shape)) for key, shape in shapes.items()}
    return {k: v / v.norm() if k.endswith(('weight_u', 'weight_v')) else v for k, v in state.items()}


def dsn_file() -> dict:
    """Content of a published DSN checkpoint, with its training state."""
    optimizer = {'state': {0: {'step': 3, 'exp_avg': torch.zeros(2)}}, 'param_groups': [{'lr': 5e-5, 'params': [0]}]}
    networks = {'gen': published_weights('dsn'), 'dis': published_discriminator()}
    return networks | {'gen_opt': optimizer, 'dis_opt': optimizer, 'ep': 3, 'total_it': 100}


def srn_file() -> dict:
    """Content of a published SR checkpoint, with a smaller network than the published ones."""
    parts = {prefix: published_weights('srn', prefix) for prefix in ('RRDBNet_var.', 'RRDBNet_U.')}
    return {'params': {f'{prefix}{key}': value for prefix, part in parts.items() for key, value in part.items()}}
