"""Networks that `usrdu fit` trains, and the time of one step of them on this machine."""

import time
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

import torch
from basicsr.utils.registry import ARCH_REGISTRY
from torch import nn

from usrdu_basicsr.fit.request import NETWORKS
from usrdu_basicsr.inference.load_network import scale_of
from usrdu_basicsr.utils.errors import InputError, not_found
from usrdu_basicsr.utils.memory import is_out_of_memory
from usrdu_basicsr.utils.precision import Precision

BATCH = 16
GT_SIZE = {1: 48, 2: 64, 4: 96}  # by scale; those of the study in docs/results.md
MEASURED_SECONDS, MIN_STEPS = 2.0, 3  # of a precision
MIN_SPEEDUP = 1.2  # of bf16


@dataclass(frozen=True)
class Network:
    """SR network and how to train it.

    Attributes:
        options: `network_g`.
        learning_rate: Initial learning rate: lower for a published model.
    """

    options: dict[str, Any]
    learning_rate: float


COMPACT = {
    'cpu': Network({'type': 'IdentitySRVGGNetCompact', 'num_feat': 32, 'num_conv': 8}, 1e-3),
    'cuda': Network({'type': 'IdentitySRVGGNetCompact', 'num_feat': 64, 'num_conv': 16}, 5e-4),
}


@dataclass(frozen=True)
class Step:
    """A training step as measured.

    Attributes:
        seconds: Time of a step.
        accum_iter: Number of micro-batches of `BATCH` patches that fit into memory.
        precision: Fastest number format.
    """

    seconds: float
    accum_iter: int
    precision: str


def choose_network(name: str, scale: int, device: torch.device) -> Network:
    """Network of a name in `NETWORKS`, or of the file of a published model.

    Raises:
        InputNotFoundError: If there is no such file.
        InputError: If the model is of another scale, or spandrel does not read it.
    """
    if name == 'compact':
        compact = COMPACT[device.type]
        return replace(compact, options=compact.options | {'upscale': scale})
    if name == 'rrdb':
        return Network({'type': 'RRDBNet', 'num_in_ch': 3, 'num_out_ch': 3, 'scale': scale}, 2e-4)
    if name == 'swinir':
        return Network(_swinir(scale), 2e-4)
    file = Path(name).expanduser()
    if not file.exists():
        raise not_found(f"--network: got '{name}', which is none of {', '.join(NETWORKS)}, and file '{file}'")
    options = {'type': 'SpandrelArch', 'path': str(file.absolute())}
    if (found := scale_of(_build(options))) != scale:
        raise InputError(
            f"--network: '{name}' has scale {found}, expected {scale}. Use --scale {found} or another file"
        )
    return Network(options, 1e-4)


def _build(options: dict[str, Any]) -> nn.Module:
    settings = {name: value for name, value in options.items() if name != 'type'}
    return ARCH_REGISTRY.get(options['type'])(**settings)


def _swinir(scale: int) -> dict[str, Any]:
    """Lightweight SwinIR of its paper."""
    size = {'img_size': 64, 'window_size': 8, 'depths': [6] * 4, 'embed_dim': 60, 'num_heads': [6] * 4, 'mlp_ratio': 2}
    upsampler = '' if scale == 1 else 'pixelshuffledirect'
    return {'type': 'SwinIR', 'upscale': scale, 'img_range': 1.0, 'upsampler': upsampler, **size}


def measure_step(network: Network, scale: int, device: torch.device) -> Step:
    """Measure training steps of a network on random patches, with micro-batches that fit into memory.

    Raises:
        InputError: If one patch does not fit into memory.
    """
    accum_iter = 1
    while True:
        try:
            steps = {name: _seconds(network, scale, device, accum_iter, name) for name in _precisions(device)}
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            if accum_iter == BATCH:
                raise InputError('--network: one patch does not fit into memory. Choose a smaller network') from error
            accum_iter *= 2
            continue
        finally:
            torch.cuda.empty_cache()  # for the training, which is another process
        fastest = min(steps, key=lambda name: steps[name] * (1 if name == 'fp32' else MIN_SPEEDUP))
        return Step(steps[fastest], accum_iter, fastest)


def _precisions(device: torch.device) -> list[str]:
    supported = ['fp32']
    try:
        Precision('bf16', device)
        supported.append('bf16')
    except InputError:
        pass
    return supported


def _seconds(network: Network, scale: int, device: torch.device, accum_iter: int, precision: str) -> float:
    """Median time of a step, with zero learning rate."""
    number_format = Precision(precision, device)
    net = _build(network.options).to(device)
    number_format.prepare(net)
    optimizer = torch.optim.Adam(net.parameters(), lr=0)
    side, batch = GT_SIZE[scale], BATCH // accum_iter
    gt, lq = torch.rand(batch, 3, side, side, device=device), torch.rand(batch, 3, side // scale, side // scale)
    lq = lq.to(device)
    times: list[float] = []
    while len(times) < MIN_STEPS or sum(times) < MEASURED_SECONDS:
        start = time.perf_counter()
        for _ in range(accum_iter):
            (number_format.run(net, lq) - gt).abs().mean().backward()
        optimizer.step()
        optimizer.zero_grad()
        if device.type == 'cuda':
            torch.cuda.synchronize(device)
        times.append(time.perf_counter() - start)
    return median(times[1:])  # the first step allocates memory
