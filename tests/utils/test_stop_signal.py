"""Installing and restoring signal handlers. Signals to a training are tested in `compat/test_faults.py`."""

import os
import signal
import threading

from usrdu_basicsr.utils.stop_signal import SIGNALS, StopSignal


def test_handlers_are_installed_and_restored():
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    before = [signal.getsignal(number) for number in SIGNALS]
    pipe_before = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    request = StopSignal()
    try:
        for _ in range(2):  # a second training in one process
            request.install(lambda: 7)
            assert not request.received and request.epoch() == 7
            os.kill(os.getpid(), signal.SIGINT)
            assert request.received
        request.restore()
        request.restore()
        assert [signal.getsignal(number) for number in SIGNALS] == before
    finally:
        assert signal.set_wakeup_fd(pipe_before) == writer
        for descriptor in (reader, writer):
            os.close(descriptor)


def test_other_thread_installs_no_handlers():
    before = [signal.getsignal(number) for number in SIGNALS]
    request = StopSignal()
    thread = threading.Thread(target=request.install, args=(lambda: 1,))
    thread.start()
    thread.join()
    assert [signal.getsignal(number) for number in SIGNALS] == before and not request.received
