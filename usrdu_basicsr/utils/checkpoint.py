"""Read and write checkpoints: never executing pickled code, never leaving half a file."""

from __future__ import annotations

import io
import os
import pickle
import re
import struct
import zipfile
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from usrdu_basicsr.utils.errors import InputError, InputNotFoundError, first_line
from usrdu_basicsr.utils.files import atomic_write
from usrdu_basicsr.utils.key_mapping import best_match, networks_of

# Keys of a kind in a message about weights: enough for a layer or two, few enough to be read
MAX_NAMES_SHOWN = 12

# How files begin that torch wrote before version 1.6, without checksums
BEFORE_ZIP = pickle.dumps(0x1950A86A20F9469CFC6C, protocol=2)
# What torch raises on a file that is cut off or changed
DAMAGED = (
    *(zipfile.BadZipFile, OSError, pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError, IndexError),
    *(TypeError, AttributeError, AssertionError, struct.error),
)


def write_checkpoint(path: str | Path, content: Mapping[str, Any]) -> None:
    """`torch.save`, whole or not at all.

    Raises:
        WriteError: The file cannot be written.
    """
    buffer = io.BytesIO()  # into a file torch hides why it could not be written
    torch.save(dict(content), buffer)
    atomic_write(Path(path), lambda file: file.write(buffer.getbuffer()))


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """`torch.load` to the CPU with `weights_only=True`.

    Raises:
        InputNotFoundError: There is no such file.
        InputError: The file is damaged, is not a checkpoint, or holds anything but tensors and plain values.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise InputNotFoundError(f"no checkpoint '{path}': check the path, which is relative to '{Path.cwd()}'")
    if path.suffix == '.safetensors':
        raise InputError(f"checkpoint '{path}' is an export for other programs: give the .pth that it was made of")
    try:
        _check_sums(path)
        content = torch.load(path, map_location='cpu', weights_only=True)
    except DAMAGED as error:
        reason = first_line(error)
        if 'weights_only' in str(error):  # torch's own advice is to run the code in it
            reason = 'it holds more than tensors and plain values, which might run code'
        raise InputError(f"cannot read checkpoint '{path}': it is damaged or not a checkpoint ({reason})") from error
    if not isinstance(content, dict):
        raise InputError(f"checkpoint '{path}' holds a {type(content).__name__}, expected a dictionary of weights")
    return content


def _check_sums(path: Path) -> None:
    """Compare the checksums, which torch writes but does not read.

    Raises:
        zipfile.BadZipFile: The file has changed since it was written, or torch did not write it.
    """
    with open(path, 'rb') as start:
        if start.read(len(BEFORE_ZIP)) == BEFORE_ZIP:
            return
    with zipfile.ZipFile(path) as file:
        if (record := file.testzip()) is not None:
            raise zipfile.BadZipFile(f'wrong checksum of {record}')


def read_weights(path: str | Path, key: str, names: Collection[str]) -> dict[str, Tensor]:
    """The weights of a network in a checkpoint of BasicSR's, of the published implementation or of ESRGAN's.

    Args:
        path: Checkpoint: `{'params': ..., 'params_ema': ...}`, a bare state dict, or see `networks_of`.
        key: The one wanted; `params` serves where it is missing, as in BasicSR.
        names: Parameters that the network has: a published file holds several networks, and this tells which is meant.

    Returns:
        `{name: tensor}`, names without the `module.` of a wrapped network.

    Raises:
        InputNotFoundError: There is no such file.
        InputError: It is damaged or holds no weights.
    """
    content = read_checkpoint(path)
    if published := networks_of(content):
        weights: Any = best_match(published, names)
    else:
        weights = content.get(key, content.get('params', content))
    named = isinstance(weights, dict) and weights and all(isinstance(name, str) for name in weights)
    if not named or not all(isinstance(value, Tensor) for value in weights.values()):
        raise InputError(f"checkpoint '{path}' holds no network under '{key}': it has {', '.join(map(str, content))}")
    return {name.removeprefix('module.'): value for name, value in weights.items()}


def _is_like(weight: Tensor, own: Tensor) -> bool:
    """Whether a weight is dense, and real numbers if the network's is."""
    return weight.layout == own.layout and weight.is_floating_point() == own.is_floating_point()


def check_weights(net: nn.Module, weights: Mapping[str, Tensor], path: str | Path) -> None:
    """Refuse weights that are not exactly the network's.

    Raises:
        InputError: Keys are missing, unexpected or misshapen; the message names each, of many the first ones.
    """
    own = net.state_dict()
    shapes = {n: f' {list(weights[n].shape)} instead of {list(own[n].shape)}' for n in own if n in weights}
    problems = []
    for kind, names in {
        'missing': [n for n in own if n not in weights],
        'unexpected': [n for n in weights if n not in own],
        'no dense floating-point': [n for n in shapes if not _is_like(weights[n], own[n])],
        'misshapen': [n + shapes[n] for n in shapes if weights[n].shape != own[n].shape],
    }.items():
        if names:
            more = [f'and {len(names) - MAX_NAMES_SHOWN} more'] if len(names) > MAX_NAMES_SHOWN else []
            problems.append(f'{len(names)} {kind} ({", ".join(names[:MAX_NAMES_SHOWN] + more)})')
    if problems:
        raise InputError(
            f"checkpoint '{path}' does not fit {type(net).__name__}: {', '.join(problems)};"
            ' it is of another architecture, size or scale: mend the network options or choose another file'
        )


def training_states(folder: str | Path) -> list[str]:
    """Paths of the training states `ITERATION.state` in a folder, newest iteration first."""
    names = os.listdir(folder) if os.path.isdir(folder) else []
    states = [name for name in names if re.fullmatch(r'\d+\.state', name)]
    return [os.path.join(folder, name) for name in sorted(states, key=lambda name: -int(name.partition('.')[0]))]
