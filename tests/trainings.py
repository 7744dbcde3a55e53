"""Training runs of BasicSR's launcher, forked from a server process that has already imported PyTorch and BasicSR."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import yaml

from python_process import ROOT


class Training:
    """A running training process.

    Attributes:
        pid: Process ID. The process leads a process group that contains its data workers.
        output: Standard output and standard error so far.
    """

    def __init__(self, server: 'TrainingServer', pid: int, output: Path) -> None:
        self._server = server
        self.pid = pid
        self._output = output

    @property
    def output(self) -> str:
        return self._output.read_text() if self._output.exists() else ''

    def wait(self) -> int:
        """Wait for the process and return its exit status, negative if a signal ended it."""
        return self._server.ask({'wait': self.pid})

    def wait_until(self, condition: Callable[[], object], seconds: float = 60) -> None:
        """Wait until `condition` is true; fail if the training ends first or `seconds` have passed."""
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, self.output
            assert Path(f'/proc/{self.pid}/stat').read_text().split()[2] != 'Z', self.output
            time.sleep(0.002)

    def kill(self) -> None:
        """Kill the process and its data workers with SIGKILL, which leaves them no time to clean up."""
        os.killpg(self.pid, signal.SIGKILL)
        assert self.wait() == -signal.SIGKILL, self.output


class TrainingServer:
    """Starts training runs in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        path = os.pathsep.join([str(ROOT), str(ROOT / 'tests')])
        self._process = subprocess.Popen(
            [sys.executable, ROOT / 'tests' / 'training_server.py'],
            env={**os.environ, 'PYTHONPATH': path, 'OMP_NUM_THREADS': '1', 'CUDA_VISIBLE_DEVICES': ''},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._count = 0

    def ask(self, request: dict) -> int:
        self._process.stdin.write(json.dumps(request) + '\n')
        self._process.stdin.flush()
        return int(self._process.stdout.readline())

    def start(self, opt: dict, *arguments: str, before: str = '') -> Training:
        """Start a training run.

        Args:
            opt: Training options.
            arguments: Command-line arguments of the launcher after `-opt`.
            before: Python code that the process runs before the launcher.
        """
        self._count += 1
        options = self.folder / f'options_{self._count}.yml'
        options.write_text(yaml.safe_dump(opt))
        output = self.folder / f'output_{self._count}.txt'
        request = {'folder': str(self.folder), 'output': str(output), 'before': before}
        pid = self.ask(request | {'arguments': ['-opt', str(options), *arguments]})
        return Training(self, pid, output)

    def run(self, opt: dict, *arguments: str, before: str = '', status: int = 0) -> str:
        """Run a training to its end, check its exit status and return its output."""
        training = self.start(opt, *arguments, before=before)
        got = training.wait()
        assert got == status, training.output
        return training.output

    def stop(self) -> None:
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        self._process.wait()
