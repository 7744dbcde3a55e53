"""Time of a training within the promised time of a run."""

import math
import time
from dataclasses import dataclass, field

from usrdu_basicsr.fit.options_files import Schedule

RESTART_SECONDS = 8.0  # until a restarted training is at its first iteration
LATE, EARLY = 0.03, 0.08  # of the promised time, by which the end may differ
FLUCTUATION = 0.2  # of the time that is left, by which it may change without another plan
WORTHWHILE = 3  # times the duration of a restart, before it is used for more iterations
MOST_SLOWDOWN = 4.0  # so that a hanging machine does not end the training at once
MIN_ITERATIONS = 10


@dataclass
class Budget:
    """Time of a training, which is shorter on a machine that becomes busy, because the results take longer, too.

    Attributes:
        end: Time of `time.monotonic` at which the whole run should end.
        promised: Time of the whole run in seconds.
        results: Expected time of the results in seconds, at the highest speed of the training.
        iteration_seconds: Expected time of an iteration, until it is measured.
        share: Part of the time until the results that the training gets.
        start: Time of `time.monotonic` at which the training started, less the time of earlier processes.
    """

    end: float
    promised: float
    results: float
    iteration_seconds: float
    share: float = 1.0
    start: float = field(default_factory=lambda: time.monotonic())
    _fastest: float = field(default=math.inf, init=False)

    @property
    def slowdown(self) -> float:
        """Time of an iteration relative to the shortest one that was measured."""
        return min(max(self.iteration_seconds / self._fastest, 1), MOST_SLOWDOWN)

    @property
    def deadline(self) -> float:
        """Time of `time.monotonic` at which the training should end."""
        return self.start + self.share * (self.end - self.results * self.slowdown - self.start)

    def measure(self, iteration_seconds: float) -> None:
        """Use the measured time of an iteration."""
        self.iteration_seconds = iteration_seconds
        self._fastest = min(self._fastest, iteration_seconds)

    def schedule(self, done: int) -> Schedule:
        """Schedule of a training that starts now, with so many iterations done."""
        left = max(self.deadline - time.monotonic() - RESTART_SECONDS * self.slowdown, 0)
        return Schedule.of(max(done + left / self.iteration_seconds, MIN_ITERATIONS))

    def is_off(self, late: float, left: float = 0) -> bool:
        """Whether an end that is late by so many seconds, or early if negative, breaks the promise.

        Args:
            late: Expected end after the deadline in seconds.
            left: Seconds until the deadline.
        """
        least_late = max(LATE * self.promised, RESTART_SECONDS)
        least_early = max(EARLY * self.promised, WORTHWHILE * RESTART_SECONDS)
        return late > max(least_late, FLUCTUATION * left) or -late > max(least_early, FLUCTUATION * left)
