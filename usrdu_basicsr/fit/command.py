"""Commands of `usrdu` that a run starts, their output, and the line that shows their progress."""

import ctypes
import queue
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TextIO

from usrdu_basicsr.utils.errors import InputError, cannot_write

TAIL = 20  # lines
TICK = 0.5  # seconds between two checks of a command that prints nothing
PLAIN_LINES = 30.0  # seconds between progress lines that are no terminal's
PR_SET_PDEATHSIG = 1  # of Linux, see prctl(2)


class Progress:
    """Lines for the user, and one line that is replaced at a terminal."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self.stream = stream or sys.stdout
        self.is_terminal = self.stream.isatty()
        self._width = 0
        self._last = 0.0

    def line(self, text: str) -> None:
        """Print a line that stays."""
        self._clear()
        self.stream.write(f'{text}\n')
        self.stream.flush()

    def live(self, text: str) -> None:
        """Show the progress: at a terminal in place of the last one, otherwise as a line every half minute."""
        if self.is_terminal:
            self._clear()
            text = text[: shutil.get_terminal_size().columns - 1]  # a line that wraps cannot be replaced
            self.stream.write(text)
            self._width = len(text)
            self.stream.flush()
        elif (now := time.monotonic()) - self._last > PLAIN_LINES:
            self._last = now
            self.line(text)

    def _clear(self) -> None:
        if self._width:
            self.stream.write(f'\r{" " * self._width}\r')
            self._width = 0


class Command:
    """A running command `usrdu ...` in the folder of a run, which ends with this process.

    Args:
        arguments: Arguments of `usrdu`.
        folder: Folder that it runs in.
        log: File that its output is appended to.
        echo: Function that gets each line of its output, or None.
    """

    def __init__(
        self, arguments: list[Any], folder: Path, log: Path, echo: Callable[[str], None] | None = None
    ) -> None:
        self.echo = echo
        self.text = shlex.join(['usrdu', *map(str, arguments)])
        self._log = open(log, 'a', encoding='utf-8')  # noqa: SIM115
        self._record(f'$ {self.text}')
        self.process = subprocess.Popen(
            [sys.executable, '-m', 'usrdu_basicsr', *map(str, arguments)],
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors='replace',
            preexec_fn=_end_with_parent if sys.platform == 'linux' else None,
        )
        self._lines: queue.Queue[str | None] = queue.Queue()
        self.is_stopped = False
        self.tail: list[str] = []
        threading.Thread(target=self._read, daemon=True).start()

    def __enter__(self) -> 'Command':
        return self

    def __exit__(self, *_: object) -> None:
        """Stop the command if it still runs, and wait for its checkpoint."""
        self.stop()
        self.process.wait()
        self._log.close()

    def stop(self) -> None:
        """Ask the command to stop, once."""
        if not self.is_stopped and self.process.poll() is None:
            self.is_stopped = True
            self.process.terminate()

    def lines(self) -> Iterator[str]:
        """Lines of its output as they come, and an empty one for each half second without any."""
        while True:
            try:
                line = self._lines.get(timeout=TICK)
            except queue.Empty:
                line = ''
            if line is None:
                self.process.wait()
                return
            if line:
                self._record(line)
                self.tail = [*self.tail[-TAIL:], line]
                if self.echo is not None:
                    self.echo(line)
            yield line

    def failure(self) -> InputError:
        """Error of a command that failed, with its last line."""
        last = self.tail[-1] if self.tail else 'no output'
        return InputError(f"{self.text}: ended with status {self.process.returncode}: {last}. See '{self._log.name}'")

    def _record(self, line: str) -> None:
        try:
            self._log.write(f'{line}\n')
            self._log.flush()
        except OSError as error:
            raise cannot_write(self._log.name, error) from error

    def _read(self) -> None:
        for line in self.process.stdout or ():
            self._lines.put(line.rstrip('\n'))
        self._lines.put(None)


def _end_with_parent() -> None:
    """Let the kernel stop this process when its parent ends, also by SIGKILL."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
