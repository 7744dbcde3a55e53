"""Spread work on files over processes."""

from __future__ import annotations

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

AHEAD = 2  # items a worker that are worked on or wait to be taken: more would fill the memory
Item = TypeVar('Item')
Result = TypeVar('Result')


def map_in_processes(work: Callable[[Item], Result], items: Iterable[Item], workers: int) -> Iterator[Result]:
    """`work` of each item, in their order.

    Args:
        work: A function of a module; an error that it raises is raised here.
        items: What to work on.
        workers: Processes; one works without any other.

    Raises:
        InputError: A worker was killed.
    """
    if workers == 1:
        yield from map(work, items)
        return
    # Processes that start afresh inherit no threads.
    executor = ProcessPoolExecutor(workers, multiprocessing.get_context('spawn'), _begin)
    try:
        pending: deque[Future[Result]] = deque()
        for item in items:
            pending.append(executor.submit(work, item))
            if len(pending) == AHEAD * workers:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    except BrokenProcessPool as error:
        raise InputError(
            'a worker process was killed, perhaps for want of memory: run again with fewer --workers'
        ) from error
    finally:
        executor.shutdown(cancel_futures=True)


def _begin() -> None:
    """Leave an interrupt to the main process, and end with it, also where it was killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:  # as it is in the main process alone
        parent.join()
        os._exit(1)
