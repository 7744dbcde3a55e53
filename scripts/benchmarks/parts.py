"""Run the parts of a report: commands with a time limit, some of them at the same time."""

import os
import signal
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Part:
    """A command with a time limit.

    Attributes:
        name: Name, also of the folder that the command runs in. Its output is written to `output.txt` there.
        command: Command and arguments.
        seconds: Time limit.
        environment: Environment variables to set.
    """

    name: str
    command: Sequence[str | Path]
    seconds: float
    environment: dict[str, str] = field(default_factory=dict)


@dataclass
class Result:
    """Result of a part: `passed`, or why not, and the seconds that it took."""

    result: str
    seconds: float


def run_parts(parts: Sequence[Part], folder: Path, deadline: float) -> dict[str, Result]:
    """Run parts at the same time and return their results by name. A failing part does not stop the others.

    Args:
        parts: Parts to run.
        folder: Folder of the parts' folders.
        deadline: Time, as of `time.monotonic`, at which all parts are stopped.
    """
    start = time.monotonic()
    limits = {part.name: min(part.seconds, deadline - start) for part in parts}
    results: dict[str, Result] = {}
    running: dict[str, subprocess.Popen] = {}
    try:
        for part in parts:
            running[part.name] = _start(part, folder / part.name)
        while running:
            time.sleep(0.05)
            seconds = time.monotonic() - start
            for name, process in list(running.items()):
                if (status := process.poll()) is not None:
                    results[name] = Result('passed' if status == 0 else f'exit status {status}', seconds)
                elif seconds > limits[name]:
                    results[name] = Result(f'stopped after {seconds:.0f} s', seconds)
                else:
                    continue
                _stop(running.pop(name))
    finally:
        for process in running.values():
            _stop(process)
    return {part.name: results[part.name] for part in parts}


def _start(part: Part, folder: Path) -> subprocess.Popen:
    folder.mkdir(parents=True)
    with open(folder / 'output.txt', 'w') as output:
        return subprocess.Popen(
            list(map(str, part.command)),
            cwd=folder,
            env=os.environ | part.environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # so that the part's own processes can be stopped, too
        )


def _stop(process: subprocess.Popen) -> None:
    """Kill a process and all processes that it started."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
