"""Checks of an export: required packages, and comparison of the exported network with PyTorch."""

import importlib
import math
from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from usrdu_basicsr.inference.load_network import size_multiple
from usrdu_basicsr.utils.errors import InputError, UserError, first_line

Run = Callable[[Tensor], Tensor]
SIZES = ((1, 17, 26), (2, 23, 14), (1, 9, 31))  # batch, height, width; sides are rounded up to `size_multiple`


class ExportError(UserError, RuntimeError):
    """A network cannot be exported to a format, or the exported network computes something else."""


def report_failure(name: str, run: Run, errors: tuple[type[Exception], ...]) -> Run:
    """Wrap an exported network so that it raises an `ExportError` where it would raise one of `errors`."""

    def checked_run(x: Tensor) -> Tensor:
        try:
            return run(x)
        except errors as error:
            raise ExportError(
                f'{name} not written: it fails on {list(x.shape)} ({first_line(error)}). Choose another --format'
            ) from error

    return checked_run


def require_packages(name: str, packages: Iterable[str]) -> None:
    """Raise an InputError if an optional package of a format is missing or cannot be imported."""
    for package in packages:
        try:
            importlib.import_module(package)
        except ImportError as error:
            raise InputError(
                f"format {name} needs the package {package}. Run pip install 'usrdu_basicsr[export]' ({error})"
            ) from error


def require_torch(name: str, version: str) -> None:
    """Raise an InputError if torch is older than the version that a format needs."""
    if torch.__version__ < version:  # torch compares version numbers, not strings
        raise InputError(
            f'format {name}: got torch {torch.__version__}, expected {version} or newer. Update torch, or choose'
            ' --format safetensors'
        )


def largest_difference(network: nn.Module, run: Run, tolerance: float, name: str) -> float:
    """Compare an exported network with PyTorch on random images of three sizes.

    Args:
        network: Network on the CPU, prepared for inference.
        run: Exported network: `(N, 3, H, W)` float32, RGB, [0, 1], to `(N, 3, H * s, W * s)`.
        tolerance: Largest allowed difference of two values.
        name: Name of the format, for the message.

    Returns:
        Largest difference of two values.

    Raises:
        ExportError: If the difference exceeds the tolerance, or shape or data type differ.
    """
    multiple, random = size_multiple(network), torch.Generator().manual_seed(0)
    largest = 0.0
    for batch, *sides in SIZES:
        height, width = (math.ceil(side / multiple) * multiple for side in sides)
        x = torch.rand(batch, 3, height, width, generator=random)
        with torch.no_grad():
            expected, got = network(x), run(x)
        if (got.shape, got.dtype) != (expected.shape, expected.dtype):
            raise ExportError(
                f'{name} not written: got output {list(got.shape)} {got.dtype} for input {list(x.shape)}, expected'
                f' {list(expected.shape)} {expected.dtype}. Report this with the versions of torch and {name}'
            )
        difference = (got - expected).abs().max().item()
        if not difference <= tolerance:  # also true for NaN
            raise ExportError(
                f'{name} not written: it differs from PyTorch by {difference:.3g} on {list(x.shape)}, expected at most'
                f' {tolerance:g}. Check that all weights are finite, otherwise report this with the version of torch'
            )
        largest = max(largest, difference)
    return largest
