"""Taking signals and giving them back; what trainings make of them is in `test_unbreakable`."""

from __future__ import annotations

import os
import signal
import threading

from usrdu_basicsr.utils.stop_signal import SIGNALS, StopRequest


def test_signals_are_taken_and_given_back():
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    before = [signal.getsignal(number) for number in SIGNALS]
    pipe_before = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    request = StopRequest()
    try:
        for _ in range(2):  # a second training in one process
            request.listen(lambda: 7)
            assert not request.made and request.epoch() == 7
            os.kill(os.getpid(), signal.SIGINT)
            assert request.made
        request.rest()
        request.rest()
        assert [signal.getsignal(number) for number in SIGNALS] == before
    finally:
        assert signal.set_wakeup_fd(pipe_before) == writer
        for end in (reader, writer):
            os.close(end)


def test_another_thread_than_the_main_one_takes_none():
    before = [signal.getsignal(number) for number in SIGNALS]
    request = StopRequest()
    thread = threading.Thread(target=request.listen, args=(lambda: 1,))
    thread.start()
    thread.join()
    assert [signal.getsignal(number) for number in SIGNALS] == before and not request.made
