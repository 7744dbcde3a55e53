"""The LMDBs that this process has open: each once, whoever reads it."""

from __future__ import annotations

import os
from pathlib import Path

import lmdb

from usrdu_basicsr.utils.errors import InputError

LMDB_DATA_FILE = 'data.mdb'
# by path, with the inode of what was opened: the LMDB may have been replaced since
_environments: dict[str, tuple[int, lmdb.Environment]] = {}


def open_environment(path: str | Path) -> lmdb.Environment:
    """An LMDB for reading, opened when this process first asks for it: LMDB allows it one environment of a path.

    Raises:
        InputError: It cannot be opened.
    """
    resolved = os.path.realpath(path)
    try:
        inode = os.stat(os.path.join(resolved, LMDB_DATA_FILE)).st_ino
        opened, environment = _environments.get(resolved, (None, None))
        if environment is None or opened != inode:  # the old one is left to the threads that may be reading it
            environment = lmdb.open(resolved, readonly=True, lock=False, readahead=False, create=False)
            _environments[resolved] = inode, environment
    except (lmdb.Error, OSError) as error:
        raise InputError(f"cannot open LMDB '{path}': create it again ({error})") from error
    return environment


def _close_inherited() -> None:
    """LMDB allows none from before a fork."""
    for _, environment in _environments.values():
        environment.close()
    _environments.clear()


if hasattr(os, 'register_at_fork'):  # Windows does not fork
    os.register_at_fork(after_in_child=_close_inherited)
