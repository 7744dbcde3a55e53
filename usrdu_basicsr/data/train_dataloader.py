"""Load batches in data workers that leave signals and the last word to the main process."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker
from types import TracebackType
from typing import Any

from torch.utils.data import DataLoader

from usrdu_basicsr.data.worker_deaths import deaths_raised
from usrdu_basicsr.utils.stop_signal import SIGNALS


class TrainDataLoader:
    """A data loader whose workers leave SIGINT and SIGTERM to the main process.

    Terminals and schedulers send them to all processes, but the step that is to be finished may need its workers, and
    torch raises an error in the middle of the step where one has ended. Only the main process ends them. Where the
    sender of a signal cannot be told (elsewhere than on Linux), SIGTERM ends a worker whoever sends it.

    Nor do workers tell of a connection that the main process breaks off: it says itself why.

    Args:
        loader: Its `worker_init_fn` is replaced.
    """

    def __init__(self, loader: DataLoader) -> None:
        loader.worker_init_fn = _obey_the_main_process
        self.loader = loader

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[Any]:
        with _blocked_in_new_processes(), deaths_raised():
            batches = iter(self.loader)  # starts the workers, or waits for them to begin anew
        return _read(batches)


def _read(batches: Iterator[Any]) -> Iterator[Any]:
    while True:
        try:
            with deaths_raised():
                batch = next(batches)
        except StopIteration:
            return
        yield batch


@contextmanager
def _blocked_in_new_processes() -> Iterator[None]:
    """Processes that are started here get no signals, in none of their threads, from their first instruction."""
    if not hasattr(signal, 'pthread_sigmask'):  # Windows
        yield
        return
    if multiprocessing.get_start_method() != 'fork':
        resource_tracker.ensure_running()  # it unblocks them when it starts
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _obey_the_main_process(worker_id: int) -> None:
    _take_its_signals()
    _be_silent_when_it_hangs_up()


def _take_its_signals() -> None:
    main = multiprocessing.parent_process()
    if main is not None and hasattr(signal, 'sigwaitinfo'):
        threading.Thread(target=_end_when_told_by, args=(main.pid,), daemon=True).start()
    elif hasattr(signal, 'pthread_sigmask'):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})


def _end_when_told_by(process: int) -> None:
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != process:
        pass
    os._exit(0)


def _be_silent_when_it_hangs_up() -> None:
    # The thread of `multiprocessing` that hands over batches shows its errors so; in a worker nothing else does.
    previous = sys.excepthook

    def show(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
        if not isinstance(error, (ConnectionError, EOFError)):
            previous(kind, error, traceback)

    sys.excepthook = show
