"""Lock of a run's folder: BasicSR renames the folder of a run that has the same name, even while that run writes."""

import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from usrdu_basicsr.utils.errors import InputError, cannot_write

try:
    import fcntl
except ModuleNotFoundError:  # Windows, which cannot rename a folder with open files
    fcntl = None  # type: ignore[assignment]

logger = logging.getLogger(__name__)
_locked: dict[Path, int] = {}  # file descriptors by lock file; the locks end with this process


def lock_run(opt: Mapping[str, Any]) -> None:
    """Lock the folder of a training or test until this process ends. Only rank 0 does so.

    The lock file `.NAME.lock` is in the parent folder, because the folder is renamed or does not exist yet. POSIX
    record locks are not inherited by data workers, so a killed run is unlocked at once.

    Args:
        opt: Options from BasicSR's `parse_options`.

    Raises:
        InputError: If another process has locked it.
        WriteError: If the lock file cannot be written.
    """
    folder = Path(opt['path'].get('experiments_root') or opt['path']['results_root'])
    if opt['rank'] == 0:
        problem = f"name: another process is writing into '{folder}'. Wait for it, stop it, or use another name"
        lock(folder.with_name(f'.{folder.name}.lock'), problem)


def lock(path: Path, problem: str) -> None:
    """Lock a file, which need not exist, until this process ends.

    Args:
        path: Lock file.
        problem: Message of the error.

    Raises:
        InputError: If another process has locked it.
        WriteError: If it cannot be written.
    """
    if fcntl is None or path in _locked:
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise cannot_write(path, error) from error
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError) as error:
        os.close(descriptor)
        raise InputError(problem) from error
    except OSError as error:  # a file system without locks
        logger.warning("Cannot lock '%s' (%s). Do not start a run twice", path, error.strerror)
    _locked[path] = descriptor
