"""Read and write checkpoints, atomically and without executing pickled code."""

import io
import pickle
import struct
import zipfile
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from usrdu_basicsr.utils.errors import InputError, first_line, not_found
from usrdu_basicsr.utils.files import write_bytes
from usrdu_basicsr.utils.key_mapping import extract_networks

MAX_NAMES_SHOWN = 12  # parameters per problem in an error message

# First bytes of files written by torch before version 1.6, which have no checksums
LEGACY_MAGIC = pickle.dumps(0x1950A86A20F9469CFC6C, protocol=2)
# Errors that torch raises for truncated or changed files
LOAD_ERRORS = (
    *(zipfile.BadZipFile, OSError, pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError, IndexError),
    *(TypeError, AttributeError, AssertionError, struct.error),
)


def write_checkpoint(path: str | Path, content: Mapping[str, Any]) -> None:
    """Write a checkpoint with `torch.save`, atomically; a WriteError if that fails."""
    buffer = io.BytesIO()  # torch's error for a failed write does not contain the reason
    torch.save(dict(content), buffer)
    write_bytes(Path(path), buffer.getbuffer())


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """Read a checkpoint to the CPU with `torch.load(..., weights_only=True)`.

    Raises:
        InputNotFoundError: If the file does not exist.
        InputError: If it is corrupt, is not a checkpoint, or contains anything but tensors and plain values.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise not_found(f"checkpoint '{path}'")
    if path.suffix == '.safetensors':
        raise InputError(f"checkpoint '{path}' is an export for other programs. Use the .pth file it was exported from")
    try:
        _verify_checksums(path)
        content = torch.load(path, map_location='cpu', weights_only=True)
    except LOAD_ERRORS as error:
        reason = first_line(error)
        if 'weights_only' in str(error):  # torch's message recommends to execute the pickled code
            reason = 'it contains Python objects, which could execute code'
        raise InputError(f"cannot read checkpoint '{path}': corrupt or not a checkpoint ({reason})") from error
    if not isinstance(content, dict):
        raise InputError(f"checkpoint '{path}': got {type(content).__name__}, expected a dictionary of weights")
    return content


def _verify_checksums(path: Path) -> None:
    """Check the checksums of the zip file, which `torch.load` ignores (`zipfile.BadZipFile`)."""
    with open(path, 'rb') as file:
        if file.read(len(LEGACY_MAGIC)) == LEGACY_MAGIC:
            return
    with zipfile.ZipFile(path) as archive:
        if (record := archive.testzip()) is not None:
            raise zipfile.BadZipFile(f'wrong checksum of {record}')


def read_weights(path: str | Path, key: str, names: Collection[str]) -> dict[str, Tensor]:
    """Read the weights of a network from a checkpoint of BasicSR, the published USR-DU implementation or ESRGAN.

    Args:
        path: Checkpoint: `{'params': ..., 'params_ema': ...}`, a bare state dict, or see `extract_networks`.
        key: Entry to read; `params` if it is missing, as in BasicSR.
        names: Parameter names of the network, which select one of the networks in a published file.

    Returns:
        State dict without the prefix `module.` of wrapped networks.

    Raises:
        InputNotFoundError: If the file does not exist.
        InputError: If it is corrupt or contains no weights.
    """
    content = read_checkpoint(path)
    if networks := extract_networks(content):
        weights: Any = max(networks.values(), key=lambda network: len(network.keys() & set(names)))
    else:
        weights = content.get(key, content.get('params', content))
    items = weights.items() if isinstance(weights, dict) else ()
    if not items or not all(isinstance(name, str) and isinstance(value, Tensor) for name, value in items):
        raise InputError(f"checkpoint '{path}' contains no network '{key}': got keys {', '.join(map(str, content))}")
    return {name.removeprefix('module.'): value for name, value in weights.items()}


def check_weights(net: nn.Module, weights: Mapping[str, Tensor], path: str | Path) -> None:
    """Check that weights match the parameters and buffers of a network exactly.

    Raises:
        InputError: If names are missing or unexpected, or shapes or types differ. The message lists the first names.
    """
    expected = net.state_dict()
    common = [name for name in expected if name in weights]
    problems = {
        'missing': [name for name in expected if name not in weights],
        'unexpected': [name for name in weights if name not in expected],
        'of another dtype or layout': [name for name in common if _format(weights[name]) != _format(expected[name])],
        'of another shape': [
            f'{name}: got {list(weights[name].shape)}, expected {list(expected[name].shape)}'
            for name in common
            if weights[name].shape != expected[name].shape
        ],
    }
    listed = [f'{len(names)} {problem} ({_shorten(names)})' for problem, names in problems.items() if names]
    if listed:
        raise InputError(
            f"checkpoint '{path}' does not fit {type(net).__name__}: {', '.join(listed)}."
            ' It has another architecture, size or scale. Correct the network options or choose another file'
        )


def _format(weight: Tensor) -> tuple[torch.layout, bool]:
    return weight.layout, weight.is_floating_point()


def _shorten(names: list[str]) -> str:
    more = len(names) - MAX_NAMES_SHOWN
    return ', '.join(names[:MAX_NAMES_SHOWN] + ([f'and {more} more'] if more > 0 else []))


def training_states(folder: str | Path) -> list[str]:
    """Paths of the training states `ITERATION.state` in a folder, newest iteration first."""
    states = [path for path in Path(folder).glob('*.state') if path.stem.isdecimal()]
    return [str(path) for path in sorted(states, key=lambda path: -int(path.stem))]
