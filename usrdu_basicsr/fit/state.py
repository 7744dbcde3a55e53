"""State of a run in its folder: finished steps, their inputs, and the time that was spent."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from usrdu_basicsr.report.run_folder import STATE, read_state
from usrdu_basicsr.utils.errors import InputError
from usrdu_basicsr.utils.files import output_folder, write_text

PLANNING = 'plan'  # checks before the first step
REMOVED = 'removed'


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
        elif folder.is_dir() and not all(path.name.startswith('.') for path in folder.iterdir()):
            raise InputError(f"-o: '{folder}' has files, but is no run of usrdu fit. Choose another folder")

    def is_finished(self, step: str, key: str) -> bool:
        """Whether a step was finished with these inputs and settings."""
        return self.keys.get(step) == key

    def is_stale(self, step: str, key: str) -> bool:
        """Whether a step ran with other inputs or settings. Those of a killed run with the same ones are not stale."""
        return self.keys.get(step) not in (None, key, _started(key))

    def forget_time(self, keys: Mapping[str, str]) -> None:
        """Forget the time of stale steps and of those that are none now, and with it that of planning them.

        Args:
            keys: Key of each step.
        """
        kept = {step for step, key in keys.items() if not self.is_stale(step, key)}
        if self.seconds.keys() <= kept | {PLANNING}:
            kept.add(PLANNING)
        self.seconds = {step: seconds for step, seconds in self.seconds.items() if step in kept}

    def remove(self, step: str) -> None:
        """Record that the results of a step are being removed, so that they are removed again after a kill."""
        self.keys[step] = REMOVED
        self.write()

    def start(self, step: str, key: str) -> None:
        """Record that a step runs."""
        self.keys[step] = _started(key)
        self.write()

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
