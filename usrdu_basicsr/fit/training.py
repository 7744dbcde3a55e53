"""A training within a time: it is planned again if its speed changes, and stopped if the PSNR does not improve."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from usrdu_basicsr.fit.budget import RESTART_SECONDS, Budget
from usrdu_basicsr.fit.command import Command, Progress
from usrdu_basicsr.fit.network import BATCH
from usrdu_basicsr.fit.options_files import Schedule
from usrdu_basicsr.fit.request import duration
from usrdu_basicsr.report import run_folder as names
from usrdu_basicsr.utils.checkpoint import training_states

MEASURED_SHARE = 0.05  # of the promised time, before the speed is known
WINDOW_SHARE = 0.2  # of the promised time, over which the speed is averaged
PATIENCE = 5  # validations of the SR network without a gain of `MIN_GAIN`
MIN_GAIN = 0.005  # dB
OUT_OF_MEMORY = 'out of memory'
KILLED = -9
METRIC = {'psnr': {'type': 'calculate_psnr'}}


class Training:
    """Training of an options file in the folder of a run, which `usrdu train` resumes.

    Args:
        folder: Folder of the run.
        stage: Name of the experiment, `dsn` or `srn`.
        write_options: Function that writes the options file for a schedule and a factor of `accum_iter`.
        budget: Its time.
        progress: Lines for the user.
        on_line: Function that is called often.
        on_validation: Function that is called after each validation.
    """

    def __init__(
        self,
        folder: Path,
        stage: str,
        write_options: Callable[[Schedule, int], None],
        budget: Budget,
        progress: Progress,
        on_line: Callable[[], None],
        on_validation: Callable[[], None] = lambda: None,
    ) -> None:
        self.folder, self.stage, self.write_options = folder, stage, write_options
        self.budget, self.progress = budget, progress
        self.on_line, self.on_validation = on_line, on_validation
        self.loss = ''
        self.psnr: list[float] = []  # of the validations
        self.speed: list[tuple[float, int]] = []  # time and iteration of the log lines since the start

    @property
    def iteration(self) -> int:
        """Iteration of the newest checkpoint, 0 if there is none."""
        states = training_states(self.folder / names.experiment(self.stage) / 'training_states')
        return int(Path(states[0]).stem) if states else 0

    def run(self, run_command: Callable[[list[Any]], Command]) -> None:
        """Train until the time is over; an InputError if the training fails."""
        parts, schedule = 1, self.budget.schedule(self.iteration)
        while True:
            if 0 < schedule.total_iter <= self.iteration:
                return
            self.write_options(schedule, parts)
            with run_command(['train', '-opt', names.options_file(self.stage), '--auto_resume']) as command:
                planned = self._watch(command, schedule)
            if planned is not None:
                self.progress.line(
                    f'Planned again: {planned.total_iter:,} instead of {schedule.total_iter:,} iterations, because one'
                    f' takes {self.budget.iteration_seconds:.2g} s'
                )
                schedule = planned
            elif command.is_stopped or command.process.returncode == 0:
                return
            elif self._is_out_of_memory(command) and parts < BATCH:
                parts *= 2
                self.progress.line(f'Out of memory: continues with {parts} times as many micro-batches (accum_iter)')
            else:
                raise command.failure()

    def _watch(self, command: Command, schedule: Schedule) -> Schedule | None:
        """Follow a training; the new schedule if it was stopped in order to change it."""
        self.speed, planned = [], None
        self.psnr = self._read_psnr()
        for line in command.lines():
            self.on_line()
            if found := names.read_log_line(line):
                self.speed.append((time.monotonic(), found[0]))
                self.loss = found[1] or self.loss
            if '# psnr' in line:
                self.psnr = self._read_psnr()
                self.on_validation()
                if not command.is_stopped and self._is_patience_over():
                    self.progress.line(f'Stopped: the validation has not improved {PATIENCE} times')
                    command.stop()
            if self.speed and self.budget.is_off(max(time.monotonic() - self.budget.deadline, 0)):
                command.stop()
            if found and not command.is_stopped and self._is_off(schedule, MEASURED_SHARE):
                planned = self.budget.schedule(self.speed[-1][1])
                command.stop()
            if self.speed:
                self.progress.live(self._status(schedule))
        is_complete = command.process.returncode == 0 and not command.is_stopped
        if is_complete and self.speed and self._is_off(schedule):  # the machine is faster again
            planned = self.budget.schedule(self.speed[-1][1])
        return planned

    def _is_off(self, schedule: Schedule, measured_share: float = 0) -> bool:
        """Whether the training would end too early or too late, and whether a new schedule changes that.

        Args:
            schedule: Its schedule.
            measured_share: Part of the promised time for which the speed must have been measured.
        """
        now, iteration = self.speed[-1]
        start, first = next(each for each in self.speed if each[0] >= now - WINDOW_SHARE * self.budget.promised)
        if now - start < measured_share * self.budget.promised or iteration == first:
            return False
        self.budget.measure((now - start) / (iteration - first))
        left = self.budget.deadline - now
        late = (schedule.total_iter - iteration) * self.budget.iteration_seconds - left
        return self.budget.is_off(late, left) and left > 2 * RESTART_SECONDS

    def _read_psnr(self) -> list[float]:
        return list(names.read_validations(self.folder, self.stage).values('psnr').values())

    def _is_patience_over(self) -> bool:
        values = self.psnr if self.stage == names.SRN else []  # the PSNR of stage 1 does not show that it learns noise
        return len(values) > PATIENCE and max(values[-PATIENCE:]) < max(values[:-PATIENCE]) + MIN_GAIN

    def _status(self, schedule: Schedule) -> str:
        iteration = self.speed[-1][1]
        left = (schedule.total_iter - iteration) * self.budget.iteration_seconds
        validation = f', PSNR {self.psnr[-1]:.2f} dB' if self.psnr else ''
        whole = f'iteration {iteration:,} of {schedule.total_iter:,}'
        times = f'{duration(left)} left, then {duration(self.budget.end - self.budget.deadline)}'
        return f'training {self.stage}: {whole}, {times}, loss {self.loss}{validation}'

    @staticmethod
    def _is_out_of_memory(command: Command) -> bool:
        return command.process.returncode == KILLED or any(OUT_OF_MEMORY in line.lower() for line in command.tail)


def best_checkpoint(folder: Path, stage: str) -> Path | None:
    """Network of the best validation whose checkpoint exists, otherwise, and for stage 1, the newest one."""
    paths = (folder / names.experiment(stage)).glob('models/net_g_[0-9]*.pth')
    models = {int(path.stem.split('_')[-1]): path for path in paths}
    best = names.read_validations(folder, stage).best(models, METRIC) if stage == names.SRN else None
    best = best or max(models, default=None)
    return None if best is None else models[best]
