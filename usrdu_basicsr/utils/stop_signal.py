"""Stop a training when the user or a scheduler asks for it: after the step, with its checkpoint written."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM)
STOPPED = 75  # EX_TEMPFAIL of sysexits.h: nothing is wrong, start it again
# torchrun passes on what it gets, which a scheduler may have sent to all processes: two signals that are meant as one
TORCHRUN_REPEATS = 2.0  # seconds


class StopSignal:
    """Whether SIGINT or SIGTERM has come.

    Attributes:
        received: Whether one has.
        epoch: Tells the epoch that is running, for the checkpoint.
    """

    def __init__(self) -> None:
        self.received = False
        self.epoch: Callable[[], int] = lambda: 0
        self._handlers: dict[int, Any] = {}
        self._other_pipe = -1

    def install(self, epoch: Callable[[], int]) -> None:
        """From now on take the signals; the second of them ends the process at once, under torchrun from 2 s on.

        A training in another thread than the main one, to which Python gives no signals, goes on as without this.
        """
        self.restore()
        self.received, self.epoch = False, epoch
        if threading.current_thread() is not threading.main_thread():
            return
        # Python calls handlers when what it is in returns, which a wait for another rank may never do. To the pipe the
        # number is written as the signal comes.
        reader, writer = os.pipe()
        os.set_blocking(writer, False)
        self._other_pipe = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        self._handlers = {number: signal.signal(number, self._note) for number in SIGNALS}
        threading.Thread(target=_end_at_the_second, args=(reader,), daemon=True).start()

    def restore(self) -> None:
        """From now on leave the signals to whoever had them before."""
        if self._handlers:
            os.close(signal.set_wakeup_fd(self._other_pipe))  # which ends the thread
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        self._handlers = {}

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.received = True


def _end_at_the_second(reader: int) -> None:
    tolerated = TORCHRUN_REPEATS if 'TORCHELASTIC_RUN_ID' in os.environ else 0.0
    first = None
    while number := os.read(reader, 1):
        if number[0] not in SIGNALS:  # others come here too
            continue
        now = time.monotonic()
        if first is None:
            first = now
        elif now - first >= tolerated:
            os._exit(128 + number[0])  # as a shell reports a signal
    os.close(reader)


stop_signal = StopSignal()
