"""Write a trained SR network in other formats, each compared with PyTorch before it gets its name."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from usrdu_basicsr.export.check import Run, largest_difference
from usrdu_basicsr.export.metadata import NOT_STATED, describe
from usrdu_basicsr.export.requirements import require_packages, require_torch
from usrdu_basicsr.export.to_onnx import run_onnx, to_onnx
from usrdu_basicsr.export.to_safetensors import run_safetensors, to_safetensors
from usrdu_basicsr.export.to_torch_export import run_torch_export, to_torch_export
from usrdu_basicsr.export.trace import OLDEST_TORCH, trace
from usrdu_basicsr.inference.load_network import load_generator
from usrdu_basicsr.utils.errors import InputError
from usrdu_basicsr.utils.files import atomic_write, output_folder


@dataclass(frozen=True)
class Format:
    """How to write a file of a format and to run it, and how far its results may be from PyTorch's."""

    write: Callable[[nn.Module, Mapping[str, str]], bytes]
    run: Callable[[bytes, nn.Module], Run]
    tolerance: float
    packages: tuple[str, ...] = ()
    traced: bool = True


# By the ending of the files. Each traces the network anew, because torch 2.6 changes the trace that it writes as ONNX.
FORMATS = {
    'safetensors': Format(
        to_safetensors,
        run_safetensors,
        tolerance=0,
        packages=('safetensors',),
        traced=False,
    ),
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
class Exported:
    """A file that was written."""

    path: Path
    size: int  # bytes
    difference: float  # the largest from PyTorch's results that was measured


def export_network(
    checkpoint: str | Path,
    output: str | Path,
    formats: Iterable[str] = tuple(FORMATS),
    licence: str = NOT_STATED,
    options: Mapping[str, Any] | None = None,
    overwrite: bool = False,
) -> Iterator[Exported]:
    """Write `output/STEM.FORMAT`, STEM being the checkpoint's; one that fails leaves no file, and none comes after it.

    Args:
        checkpoint: Stage 2's `net_g_*.pth`; its EMA weights are taken if it has them.
        output: Folder, made if missing.
        formats: Names of `FORMATS`.
        licence: Of the weights, for the metadata.
        options: Parsed options file whose `network_g` describes the network; None for an RRDBNet or SRVGGNetCompact,
            which are recognised.
        overwrite: Replace files that are there.

    Yields:
        Each file, once it is written.

    Raises:
        InputNotFoundError: There is no such checkpoint.
        InputError: It holds no SR network; a file is there already; a package or a newer torch is needed.
        ExportError: A format cannot hold the network, or its file computes something else.
        WriteError: A file cannot be written.
    """
    checkpoint, output = Path(checkpoint).expanduser(), output_folder(output)
    # A stem may have dots, which `with_suffix` would cut at
    paths = {name: output / f'{checkpoint.stem}.{name}' for name in formats}
    for name, path in paths.items():
        if path.exists() and not overwrite:
            raise InputError(f"output '{path}' is there already: name another folder, remove it, or pass --overwrite")
        if FORMATS[name].traced:
            require_torch(name, OLDEST_TORCH)
        require_packages(name, FORMATS[name].packages)
    described = None if options is None else options['network_g']
    network = load_generator(checkpoint, torch.device('cpu'), described)
    metadata = describe(network, checkpoint, licence, options)
    for name, path in paths.items():
        file_format = FORMATS[name]
        data = file_format.write(network, metadata)
        difference = largest_difference(network, file_format.run(data, network), file_format.tolerance, name)
        _write(path, data)
        yield Exported(path, len(data), difference)


def _write(path: Path, data: bytes) -> None:
    atomic_write(path, lambda file: file.write(data))
