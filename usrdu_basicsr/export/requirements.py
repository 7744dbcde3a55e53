"""What a format needs beyond this package's own requirements."""

from __future__ import annotations

import importlib
from collections.abc import Iterable

import torch

from usrdu_basicsr.utils.errors import InputError


def require_packages(export_format: str, packages: Iterable[str]) -> None:
    """Check that optional packages are there.

    Raises:
        InputError: One is missing or cannot be imported.
    """
    for package in packages:
        try:
            importlib.import_module(package)
        except ImportError as error:
            raise InputError(
                f"format {export_format} needs the package {package}: pip install 'usrdu_basicsr[export]' ({error})"
            ) from error


def require_torch(export_format: str, version: str) -> None:
    """Check the version of torch that runs.

    Raises:
        InputError: It is older.
    """
    if torch.__version__ < version:  # torch compares the numbers, not the texts
        raise InputError(
            f'format {export_format} needs torch {version} or newer, here is {torch.__version__}: update torch, or'
            ' choose --format safetensors'
        )
