"""Ordered parallel map in worker processes."""

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

from usrdu_basicsr.utils.errors import InputError

PENDING_PER_WORKER = 2  # limits the memory that finished results occupy
Item = TypeVar('Item')
Result = TypeVar('Result')


def map_in_processes(function: Callable[[Item], Result], items: Iterable[Item], workers: int) -> Iterator[Result]:
    """Call a function with each item in worker processes and yield the results in order.

    Args:
        function: Picklable function. Its exceptions are raised here.
        items: Arguments of the calls.
        workers: Number of processes. With 1, the calls run in this process.

    Raises:
        InputError: If a worker process was killed.
    """
    if workers == 1:
        yield from map(function, items)
        return
    # Spawned processes inherit no threads.
    executor = ProcessPoolExecutor(workers, multiprocessing.get_context('spawn'), _initialize_worker)
    try:
        pending: deque[Future[Result]] = deque()
        for item in items:
            pending.append(executor.submit(function, item))
            if len(pending) == PENDING_PER_WORKER * workers:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    except BrokenProcessPool as error:
        problem = 'a worker process was killed, possibly for lack of memory'
        raise InputError(f'{problem}. Run again with fewer --workers') from error
    finally:
        executor.shutdown(cancel_futures=True)


def _initialize_worker() -> None:
    """Leave Ctrl+C to the main process, and exit when the main process ends, even if it was killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_exit_with_parent, daemon=True).start()


def _exit_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:  # None only in the main process
        parent.join()
        os._exit(1)
