"""Data loader of a training that handles signals and dead data workers."""

import multiprocessing
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker
from typing import Any

from torch.utils.data import DataLoader

from usrdu_basicsr.utils.errors import WorkerDiedError
from usrdu_basicsr.utils.stop_signal import SIGNALS


class TrainDataLoader:
    """Data loader whose workers ignore SIGINT and SIGTERM and whose dead workers end the run with one line.

    Terminals and schedulers send these signals to all processes, but the main process needs its workers to finish the
    step. The main process ends a worker that does not exit by itself with SIGKILL.

    Args:
        loader: Data loader; its `worker_init_fn` is replaced.
    """

    def __init__(self, loader: DataLoader) -> None:
        self.loader = loader
        loader.worker_init_fn = _silence_broken_connections

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[Any]:
        with _worker_start(), _worker_errors():
            batches = iter(self.loader)  # starts the workers
        for worker in getattr(batches, '_workers', ()):
            worker._popen.terminate = worker._popen.kill  # SIGTERM is blocked there
        return _read(batches)


def _read(batches: Iterator[Any]) -> Iterator[Any]:
    with _worker_errors():
        yield from batches


@contextmanager
def _worker_errors() -> Iterator[None]:
    """Raise WorkerDiedError where PyTorch finds a dead worker or a worker's connection breaks."""
    try:
        yield
    except (RuntimeError, ConnectionError, EOFError) as error:
        is_from_dataset = ' in DataLoader worker process ' in str(error)
        if is_from_dataset or (isinstance(error, RuntimeError) and not str(error).startswith('DataLoader worker (pid')):
            raise
        raise WorkerDiedError(
            'a data worker was killed, possibly for lack of memory. Lower datasets: train: num_worker_per_gpu.'
            ' Resume from the newest checkpoint with --auto_resume'
        ) from error


@contextmanager
def _worker_start() -> Iterator[None]:
    """Start workers with SIGINT and SIGTERM blocked, and without PyTorch's handler of SIGCHLD.

    That handler raises wherever the main thread is, for example within a log message. Without it, PyTorch finds a dead
    worker within 5 seconds of waiting for a batch.
    """
    if not hasattr(signal, 'pthread_sigmask') or threading.current_thread() is not threading.main_thread():
        yield
        return
    if multiprocessing.get_start_method() != 'fork':
        resource_tracker.ensure_running()  # it unblocks the signals when it starts
    handler = signal.getsignal(signal.SIGCHLD)
    if getattr(handler, '__module__', '').startswith('torch.'):  # set by another data loader
        handler = signal.SIG_DFL
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)  # processes inherit it
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        signal.signal(signal.SIGCHLD, handler)


def _silence_broken_connections(worker_id: int) -> None:
    """Disable the traceback of the thread that shares batches, for a main process that ends because of another error.

    Errors of the dataset are passed on to the main process and are not affected.
    """
    sys.excepthook = lambda *_: None
