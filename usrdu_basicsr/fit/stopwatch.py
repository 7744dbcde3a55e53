"""Time that the steps of a run take, also if it is killed."""

import time

from psutil import Process

from usrdu_basicsr.fit.state import PLANNING, RunState

BEAT_SECONDS = 5.0  # between two records of the time


class Stopwatch:
    """Adds the time since the start of the process to the state of a run.

    Args:
        state: State of the run.

    Attributes:
        step: Step that the time is counted for.
    """

    def __init__(self, state: RunState) -> None:
        self.step = PLANNING
        self._state = state
        self._time = time.monotonic() - (time.time() - Process().create_time())

    def beat(self, least: float = BEAT_SECONDS) -> None:
        """Record the time of the current step if it is not too little. A killed run loses less than that."""
        if (now := time.monotonic()) - self._time >= least:
            self._state.spend(self.step, now - self._time)
            self._time = now

    def spent(self) -> float:
        """Seconds of all steps, of earlier processes, too."""
        return sum(self._state.seconds.values()) + time.monotonic() - self._time
