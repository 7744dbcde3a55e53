"""The LMDBs that this process has open: each once, whoever reads it."""

from __future__ import annotations

import os
from pathlib import Path

import lmdb

from usrdu_basicsr.errors import InputError

_environments: dict[str, lmdb.Environment] = {}


def open_environment(path: str | Path) -> lmdb.Environment:
    """An LMDB for reading, opened when this process first asks for it: LMDB allows it one environment of a path.

    Raises:
        InputError: It cannot be opened.
    """
    resolved = os.path.realpath(path)
    if resolved not in _environments:
        try:
            _environments[resolved] = lmdb.open(resolved, readonly=True, lock=False, readahead=False, create=False)
        except lmdb.Error as error:
            raise InputError(f"cannot open LMDB '{path}': create it again ({error})") from error
    return _environments[resolved]


def _close_inherited() -> None:
    """LMDB allows none from before a fork."""
    for environment in _environments.values():
        environment.close()
    _environments.clear()


if hasattr(os, 'register_at_fork'):  # Windows does not fork
    os.register_at_fork(after_in_child=_close_inherited)
