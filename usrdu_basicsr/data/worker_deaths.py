"""Raise that a data worker died where a batch is waited for, and nowhere else."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any


@contextmanager
def deaths_raised() -> Iterator[None]:
    """For what waits for the workers of a torch data loader, in the main thread; outside, no death is raised any more.

    torch raises its error from a handler of SIGCHLD, wherever the main thread then is: in the middle of a log message,
    say, or while another error is shown, and a traceback comes out. Here the next such context raises it. And where the
    system has not told of a worker's end yet but its connection broke already, torch's error takes that one's place.

    Other loaders of this process find out about a death within the 5 seconds after which torch looks for itself.

    Raises:
        RuntimeError: A worker died; the message starts with 'DataLoader worker (pid'.
    """
    handler = _handler()
    try:
        if isinstance(handler, _HeldBack):
            handler.let_through()
        yield
    except (ConnectionError, EOFError) as error:
        if ' in DataLoader worker process ' in str(error):  # raised by the dataset
            raise
        raise RuntimeError('DataLoader worker (pid unknown) exited unexpectedly') from error
    finally:
        _hold_back()


def _handler() -> Any:
    return signal.getsignal(signal.SIGCHLD) if hasattr(signal, 'SIGCHLD') else None


def _hold_back() -> None:
    handler = _handler()  # torch's, once it has started workers
    if isinstance(handler, _HeldBack):
        handler.open = False
    elif callable(handler) and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGCHLD, _HeldBack(handler))


class _HeldBack:
    """A handler of SIGCHLD whose error waits until it is let through."""

    def __init__(self, handler: Callable[[int, FrameType | None], Any]) -> None:
        self.handler = handler
        self.open = False
        self.error: RuntimeError | None = None

    def __call__(self, number: int, frame: FrameType | None) -> None:
        try:
            self.handler(number, frame)
        except RuntimeError as error:
            if not self.open:
                self.error = error
                return
            self.open = False  # what follows must not break into the report of this one
            raise

    def let_through(self) -> None:
        """Raise what has waited; from now on, raise at once."""
        self.open = True
        if self.error is not None:
            error, self.error = self.error, None
            raise error
