"""State of a run in its folder: finished steps, their inputs, and the time that was spent."""

import hashlib
import json
from pathlib import Path
from typing import Any

from usrdu_basicsr.report.run_folder import STATE, read_state
from usrdu_basicsr.utils.errors import InputError
from usrdu_basicsr.utils.files import output_folder, write_text


class RunState:
    """`fit.json` of a run.

    Args:
        folder: Folder of the run, which need not exist.

    Raises:
        InputError: If the folder has other files but no `fit.json`, or that is corrupt.
    """

    def __init__(self, folder: Path) -> None:
        self.path = output_folder(folder) / STATE
        self.keys: dict[str, str] = {}
        self.seconds: dict[str, float] = {}
        self.notes: list[str] = []
        self.settings: dict[str, Any] = {}
        if self.path.is_file():
            state = read_state(folder)
            self.keys, self.seconds, self.notes, self.settings = state.values()
        elif folder.is_dir() and any(folder.iterdir()):
            raise InputError(f"-o: '{folder}' has files, but is no run of usrdu fit. Choose another folder")

    def is_finished(self, step: str, key: str) -> bool:
        """Whether a step was finished with these inputs and settings."""
        return self.keys.get(step) == key

    def start(self, step: str, key: str) -> bool:
        """Record that a step runs.

        Returns:
            Whether the results of an earlier run have other inputs, so that they have to be removed. Those of a killed
            run with the same inputs are kept.
        """
        is_stale = self.keys.get(step) not in (None, _started(key))
        if is_stale:
            self.seconds.pop(step, None)
        self.keys[step] = _started(key)
        self.write()
        return is_stale

    def finish(self, step: str, key: str) -> None:
        """Record that a step is finished."""
        self.keys[step] = key
        self.write()

    def spend(self, step: str, seconds: float) -> None:
        """Add time to a step."""
        self.seconds[step] = self.seconds.get(step, 0) + seconds
        self.write()

    def write(self) -> None:
        """Write the file atomically; a WriteError if that fails."""
        content = {name: getattr(self, name) for name in ('keys', 'seconds', 'notes', 'settings')}
        write_text(self.path, json.dumps(content, indent=2) + '\n')


def key_of(*values: Any) -> str:
    """Key of inputs and settings, JSON values: equal for equal ones."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]


def _started(key: str) -> str:
    return f'{key} started'
