"""Export of a trained SR network to other formats, each compared with PyTorch before it is written."""

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from usrdu_basicsr.export.check import Run, largest_difference, require_packages, require_torch
from usrdu_basicsr.export.metadata import NOT_STATED, describe
from usrdu_basicsr.export.to_onnx import run_onnx, to_onnx
from usrdu_basicsr.export.to_torch_export import OLDEST_TORCH, run_torch_export, to_torch_export, trace
from usrdu_basicsr.inference.load_network import load_generator
from usrdu_basicsr.utils.errors import InputError
from usrdu_basicsr.utils.files import output_folder, write_bytes


def to_safetensors(network: nn.Module, metadata: Mapping[str, str]) -> bytes:
    """Serialise only the weights, with BasicSR's names in float32, the metadata and `format: pt`."""
    from safetensors.torch import save

    weights = {  # cloned, because safetensors refuses tensors that share memory
        name: (value.float() if value.is_floating_point() else value).clone(memory_format=torch.contiguous_format)
        for name, value in network.state_dict().items()
    }
    return save(weights, {'format': 'pt', **metadata})


def run_safetensors(data: bytes, network: nn.Module) -> Run:
    """Copy a network and load the weights of a safetensors file into the copy."""
    from safetensors.torch import load

    loaded = copy.deepcopy(network)
    loaded.load_state_dict(load(data))
    return loaded


@dataclass(frozen=True)
class Format:
    """File format: functions that write and run a file, and the largest allowed difference from PyTorch."""

    write: Callable[[nn.Module, Mapping[str, str]], bytes]
    run: Callable[[bytes, nn.Module], Run]
    tolerance: float
    packages: tuple[str, ...] = ()
    traced: bool = True


# By file extension. Each format traces the network itself, because torch 2.6 modifies a trace when it writes ONNX.
FORMATS = {
    'safetensors': Format(to_safetensors, run_safetensors, tolerance=0, packages=('safetensors',), traced=False),
    'onnx': Format(
        lambda network, metadata: to_onnx(trace(network), metadata),
        lambda data, _: run_onnx(data),
        tolerance=1e-4,
        packages=('onnx', 'onnxscript', 'onnxruntime'),
    ),
    'pt2': Format(
        lambda network, metadata: to_torch_export(trace(network), metadata),
        lambda data, _: run_torch_export(data),
        tolerance=1e-4,
    ),
}


@dataclass(frozen=True)
class ExportedFile:
    """Path and size in bytes of a written file, and its largest difference from PyTorch."""

    path: Path
    size: int
    difference: float


def export_network(
    checkpoint: str | Path,
    output: str | Path,
    formats: Iterable[str] = tuple(FORMATS),
    licence: str = NOT_STATED,
    options: Mapping[str, Any] | None = None,
    overwrite: bool = False,
) -> Iterator[ExportedFile]:
    """Write `output/STEM.FORMAT` for each format, where STEM is the stem of the checkpoint.

    A format that fails writes no file and stops the export.

    Args:
        checkpoint: Stage 2 checkpoint `net_g_*.pth`; its EMA weights are preferred.
        output: Output folder, created if missing.
        formats: Names in `FORMATS`.
        licence: Licence of the weights, for the metadata.
        options: Parsed options file whose `network_g` describes the network; None for an RRDBNet or SRVGGNetCompact,
            which are detected.
        overwrite: Replace existing files.

    Yields:
        Each file after it is written.

    Raises:
        InputNotFoundError: If the checkpoint does not exist.
        InputError: If it contains no SR network, a file exists, a package is missing or torch is too old.
        ExportError: If a format does not support the network, or its file computes something else.
        WriteError: If a file cannot be written.
    """
    checkpoint, output = Path(checkpoint).expanduser(), output_folder(output)
    paths = {name: output / f'{checkpoint.stem}.{name}' for name in formats}  # with_suffix would cut stems with dots
    for name, path in paths.items():
        if path.exists() and not overwrite:
            raise InputError(f"output '{path}' already exists. Choose another folder, remove it, or pass --overwrite")
        if FORMATS[name].traced:
            require_torch(name, OLDEST_TORCH)
        require_packages(name, FORMATS[name].packages)
    network = load_generator(checkpoint, torch.device('cpu'), None if options is None else options['network_g'])
    metadata = describe(network, checkpoint, licence, options)
    for name, path in paths.items():
        file_format = FORMATS[name]
        data = file_format.write(network, metadata)
        difference = largest_difference(network, file_format.run(data, network), file_format.tolerance, name)
        write_bytes(path, data)
        yield ExportedFile(path, len(data), difference)
