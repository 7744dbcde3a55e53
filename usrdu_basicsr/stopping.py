"""Stop a training when the user or a scheduler asks for it: after the step, with its checkpoint written."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)
STOPPED = 75  # EX_TEMPFAIL of sysexits.h: nothing is wrong, start it again
# torchrun passes on what it gets from a terminal, which sends it to all processes already: two signals, meant as one
TORCHRUN_REPEATS = 2.0  # seconds


class StopRequest:
    """Whether SIGINT or SIGTERM has come.

    Attributes:
        epoch: Tells the epoch that is running, for the checkpoint.
    """

    def __init__(self) -> None:
        self.since: float | None = None
        self.epoch: Callable[[], int] = lambda: 0

    def listen(self, epoch: Callable[[], int]) -> None:
        """From now on take the signals; the second of them ends the process at once.

        A training in another thread than the main one, to which Python gives no signals, goes on as without this.
        """
        self.since, self.epoch = None, epoch
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                signal.signal(number, self._note)

    def _note(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        under_torchrun = 'TORCHELASTIC_RUN_ID' in os.environ
        if self.since is None:
            self.since = now
            if not under_torchrun:
                for each in SIGNALS:
                    signal.signal(each, signal.SIG_DFL)
        elif now - self.since > TORCHRUN_REPEATS:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)

    @property
    def made(self) -> bool:
        """Whether this process has been asked to stop."""
        return self.since is not None


stop_request = StopRequest()


def leave_signals_to_the_main_process(worker_id: int) -> None:
    """For a data worker: terminals and schedulers signal it too, but the step that is to be finished needs it.

    Only the main process ends it, with SIGTERM. Where the sender of a signal cannot be told (elsewhere than on Linux)
    SIGTERM ends it whoever sends it, and the training with it.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, 'sigwaitinfo'):
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        threading.Thread(target=_end_by_the_main_process, daemon=True).start()


def _end_by_the_main_process() -> None:
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != os.getppid():
        pass
    os._exit(0)
