"""Stop a training on SIGINT or SIGTERM, after the current step and with a checkpoint."""

import os
import signal
import threading
import time
from collections.abc import Callable
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM)
STOPPED = 75  # EX_TEMPFAIL of sysexits.h: start the training again
# Wrappers such as torchrun and `timeout` forward the signal that a terminal or scheduler has sent to all processes.
REPEAT_SECONDS = 2.0


class StopSignal:
    """Record of a stop request by SIGINT or SIGTERM.

    Attributes:
        received: Whether a signal has been received.
        epoch: Function that returns the current epoch, for the checkpoint.
    """

    def __init__(self) -> None:
        self.received = False
        self.epoch: Callable[[], int] = lambda: 0
        self._handlers: dict[int, Any] = {}
        self._previous_fd = -1

    def install(self, epoch: Callable[[], int]) -> None:
        """Install the signal handlers.

        The second signal ends the process immediately; signals within `REPEAT_SECONDS` count as one. Nothing is
        installed outside the main thread, the only one in which Python handles signals.
        """
        self.restore()
        self.received, self.epoch = False, epoch
        if threading.current_thread() is not threading.main_thread():
            return
        # Python handlers do not run while the main thread is in C code, for example waiting for another rank. The
        # wakeup descriptor receives the signal number at once.
        reader, writer = os.pipe()
        os.set_blocking(writer, False)
        self._previous_fd = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        self._handlers = {number: signal.signal(number, self._handle) for number in SIGNALS}
        threading.Thread(target=_exit_on_second_signal, args=(reader,), daemon=True).start()

    def restore(self) -> None:
        """Restore the previous signal handlers."""
        if self._handlers:
            os.close(signal.set_wakeup_fd(self._previous_fd))  # ends the thread
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        self._handlers = {}

    def _handle(self, *_: object) -> None:
        self.received = True


def _exit_on_second_signal(reader: int) -> None:
    first_time = None
    while number := os.read(reader, 1):
        if number[0] not in SIGNALS:
            continue
        now = time.monotonic()
        if first_time is None:
            first_time = now
        elif now - first_time >= REPEAT_SECONDS:
            os._exit(128 + number[0])  # the status that a shell reports for a signal
    os.close(reader)


stop_signal = StopSignal()
