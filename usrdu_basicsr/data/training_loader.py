"""Load batches in data workers that signals to the training do not end."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker
from typing import Any

from torch.utils.data import DataLoader

from usrdu_basicsr.stopping import SIGNALS


class TrainingLoader:
    """A data loader whose workers leave SIGINT and SIGTERM to the main process.

    Terminals and schedulers send them to all processes, but the step that is to be finished may need its workers, and
    torch raises an error in the middle of the step where one has ended. Only the main process ends them. Where the
    sender of a signal cannot be told (elsewhere than on Linux), SIGTERM ends a worker whoever sends it.

    Args:
        loader: Its `worker_init_fn` is replaced.
    """

    def __init__(self, loader: DataLoader) -> None:
        loader.worker_init_fn = _take_signals_from_the_main_process
        self.loader = loader

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[Any]:
        with _blocked_in_new_processes():
            batches = iter(self.loader)  # starts the workers
        return _with_dead_workers_named(batches)


def _with_dead_workers_named(batches: Iterator[Any]) -> Iterator[Any]:
    """Raise torch's error for a dead worker where torch passes on that the worker's connection broke.

    A worker's sockets are closed a moment before the system reports its end, and torch looks for the latter alone.
    """
    try:
        yield from batches
    except (ConnectionError, EOFError) as error:
        if ' in DataLoader worker process ' in str(error):  # raised by the dataset
            raise
        raise RuntimeError('DataLoader worker (pid unknown) exited unexpectedly') from error


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


def _take_signals_from_the_main_process(worker_id: int) -> None:
    main = multiprocessing.parent_process()
    if main is not None and hasattr(signal, 'sigwaitinfo'):
        threading.Thread(target=_end_when_told_by, args=(main.pid,), daemon=True).start()
    elif hasattr(signal, 'pthread_sigmask'):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})


def _end_when_told_by(process: int) -> None:
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != process:
        pass
    os._exit(0)
