"""Plan of a training within a time: planned again, stopped, or continued with less memory, on a simulated clock."""

import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from usrdu_basicsr.fit import budget, training
from usrdu_basicsr.fit.budget import Budget
from usrdu_basicsr.fit.options_files import Schedule
from usrdu_basicsr.fit.training import Training, best_checkpoint
from usrdu_basicsr.utils.errors import InputError

START = 5.0  # seconds until the first iteration
PRINTED = 10  # iterations of a log line


class Clock:
    """Replacement of `time` whose time passes in the simulated trainings only."""

    now = 1000.0

    def monotonic(self) -> float:
        return self.now


class SimulatedTraining:
    """Command that prints BasicSR's log lines: one iteration takes `seconds(time)`."""

    def __init__(self, run: 'Runs', total_iter: int, val_freq: int) -> None:
        self.run, self.total_iter, self.val_freq = run, total_iter, val_freq
        self.is_stopped, self.text, self.tail = False, 'usrdu train', ['RuntimeError: CUDA out of memory.']
        self.process = SimpleNamespace(returncode=0)

    def __enter__(self) -> 'SimulatedTraining':
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def stop(self) -> None:
        self.is_stopped, self.process.returncode = True, 75

    def failure(self) -> InputError:
        return InputError(f'{self.text}: {self.tail[-1]}')

    def lines(self) -> Iterator[str]:
        if self.run.fails:
            self.process.returncode = self.run.fails.pop(0)
            return
        self.run.clock.now += START
        while self.run.iteration < self.total_iter and not self.is_stopped:
            self.run.iteration += 1
            self.run.clock.now += self.run.seconds(self.run.clock.now)
            if self.run.iteration % self.val_freq == 0:
                self.run.validate()
                yield '\t # psnr: 20.0000'
            if self.run.iteration % PRINTED == 0:
                yield f'[srn..][epoch:  0, iter:{self.run.iteration:8,}, lr:(1e-3,)] [eta: 0] l_g_pix: 1.5000e-02 '
        self.run.save()


class Runs:
    """Trainings in a folder, on one clock."""

    def __init__(self, folder: Path, clock: Clock) -> None:
        self.folder, self.clock = folder / 'experiments' / 'srn', clock
        self.iteration, self.commands = 0, 0
        self.schedules: list[tuple[Schedule, int]] = []
        self.fails: list[int] = []
        self.psnr = lambda iteration: 20 + iteration / 1000
        self.seconds = lambda now: 0.1
        for name in ('training_states', 'models'):
            (self.folder / name).mkdir(parents=True)

    def write_options(self, schedule: Schedule, parts: int) -> None:
        self.schedules.append((schedule, parts))

    def start(self, arguments: list) -> SimulatedTraining:
        assert arguments == ['train', '-opt', f'options/train_{self.folder.name}.yml', '--auto_resume']
        self.commands += 1
        return SimulatedTraining(self, self.schedules[-1][0].total_iter, self.schedules[-1][0].val_freq)

    def validate(self) -> None:
        record = {'iter': self.iteration, 'dataset': 'validation', 'metrics': {'psnr': self.psnr(self.iteration)}}
        with open(self.folder / 'validation.jsonl', 'a') as file:
            file.write(f'{json.dumps(record)}\n')
        self.save()

    def save(self) -> None:
        (self.folder / 'training_states' / f'{self.iteration}.state').touch()
        (self.folder / 'models' / f'net_g_{self.iteration}.pth').touch()


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Runs:
    clock = Clock()
    monkeypatch.setattr(training, 'time', clock)
    monkeypatch.setattr(budget, 'time', clock)
    return Runs(tmp_path, clock)


def train(runs: Runs, seconds: float = 600, results: float = 0, share: float = 1, stage: str = 'srn') -> list[str]:
    """Train for so long without the results, and return the printed lines."""
    lines: list[str] = []
    progress = SimpleNamespace(line=lines.append, live=lambda text: None)
    time = Budget(runs.clock.now + seconds, seconds, results, 0.1, share)
    Training(runs.folder.parents[1], stage, runs.write_options, time, progress, lambda: None).run(runs.start)
    return lines


def test_training_of_the_expected_speed_is_not_planned_again(runs: Runs):
    assert train(runs) == []
    assert runs.commands == 1 and runs.schedules == [(Schedule(5920, 592), 1)]
    assert 1000 + 595 < runs.clock.now < 1000 + 600


@pytest.mark.parametrize('seconds', [0.02, 0.05, 0.3, 1.0])
def test_wrong_estimates_end_in_time(runs: Runs, seconds: float):
    runs.seconds = lambda now: seconds
    lines = train(runs)
    assert runs.commands == 2 and lines[0].startswith('Planned again: ')
    assert 0.92 * 600 < runs.clock.now - 1000 < 1.03 * 600


def test_a_machine_that_becomes_busy_is_noticed(runs: Runs):
    """From the middle on an iteration takes three times as long."""
    runs.seconds = lambda now: 0.1 if now < 1300 else 0.3
    train(runs)
    assert runs.commands >= 2
    assert 0.92 * 600 < runs.clock.now - 1000 < 1.05 * 600


@pytest.mark.parametrize('slower', [1.5, 3])
def test_a_busy_machine_gets_more_time_for_the_results(runs: Runs, slower: float):
    """The results take 60 s, or as much longer as an iteration: without more time 30 or 120 s too much."""
    runs.seconds = lambda now: 0.1 if now < 1300 else 0.1 * slower
    train(runs, results=60)
    assert 0.92 * 600 < runs.clock.now + 60 * slower - 1000 < 1.03 * 600


def test_a_hanging_machine_gets_limited_time_for_the_results(runs: Runs):
    """An iteration takes 20 times as long for a while, for which 1,200 s of results would be expected."""
    runs.seconds = lambda now: 2.0 if 1200 < now < 1300 else 0.1
    train(runs, results=60)
    assert 0.9 * 600 < runs.clock.now + 60 - 1000 < 1.03 * 600


def test_share_of_the_time(runs: Runs):
    """Stage 1 gets 40 % of the time until the results, 216 of 540 s."""
    train(runs, results=60, share=0.4)
    assert [schedule.total_iter for schedule, _ in runs.schedules] == [2080]
    assert 0.97 * 216 < runs.clock.now - 1000 <= 216


def test_a_speed_that_fluctuates_is_no_reason_to_plan_again(runs: Runs):
    """Half-minutes in which an iteration takes 18 % longer and shorter."""
    runs.seconds = lambda now: 0.118 if now // 30 % 2 else 0.082
    assert train(runs) == []
    assert 0.92 * 600 < runs.clock.now - 1000 < 1.05 * 600


def test_a_machine_that_hangs_at_the_end_is_stopped(runs: Runs):
    runs.seconds = lambda now: 0.1 if now < 1590 else 5.0
    train(runs)
    assert runs.clock.now - 1000 < 1.2 * 600


def test_resumed_training_gets_the_time_that_is_left(runs: Runs):
    runs.iteration = 3000
    runs.save()
    train(runs, seconds=100)
    assert [schedule.total_iter for schedule, _ in runs.schedules] == [3920]


def test_no_time_left(runs: Runs):
    runs.iteration = 3000
    runs.save()
    assert train(runs, seconds=-5) == [] and runs.commands == 0


def test_patience(runs: Runs):
    runs.psnr = lambda iteration: 25 - abs(iteration - 1000) / 1000
    lines = train(runs)
    assert lines == ['Stopped: the validation has not improved 5 times']
    assert runs.iteration == 592 * 7  # the best one, the second, and five more
    assert best_checkpoint(runs.folder.parents[1], 'srn').name == 'net_g_1184.pth'


def test_stage_1_is_not_judged_by_its_psnr(runs: Runs):
    """It learns the noise, which its mean does not show: it has no patience, and its newest network is used."""
    runs.psnr = lambda iteration: 25 - iteration / 1000
    runs.folder.rename(runs.folder.with_name('dsn'))
    runs.folder = runs.folder.with_name('dsn')
    assert train(runs, stage='dsn') == []
    assert best_checkpoint(runs.folder.parents[1], 'dsn').name == 'net_g_5920.pth'


def test_out_of_memory_halves_the_micro_batches(runs: Runs):
    runs.fails = [1, -9]
    lines = train(runs)
    assert [parts for _, parts in runs.schedules] == [1, 2, 4]
    assert lines[0] == 'Out of memory: continues with 2 times as many micro-batches (accum_iter)'


def test_other_failures_are_errors(runs: Runs, monkeypatch: pytest.MonkeyPatch):
    runs.fails = [1]
    monkeypatch.setattr(Training, '_is_out_of_memory', staticmethod(lambda command: False))
    with pytest.raises(InputError, match='usrdu train'):
        train(runs)


def test_memory_that_is_never_enough_is_an_error(runs: Runs):
    runs.fails = [-9] * 9
    with pytest.raises(InputError):
        train(runs)
    assert [parts for _, parts in runs.schedules] == [1, 2, 4, 8, 16]


def test_the_best_checkpoint_that_exists(runs: Runs):
    assert best_checkpoint(runs.folder.parents[1], 'srn') is None
    runs.psnr = {100: 30.0, 200: 31.0, 300: 29.0}.__getitem__
    for iteration in (100, 200, 300):
        runs.iteration = iteration
        runs.validate()
    assert best_checkpoint(runs.folder.parents[1], 'srn').name == 'net_g_200.pth'
    (runs.folder / 'models' / 'net_g_200.pth').unlink()
    assert best_checkpoint(runs.folder.parents[1], 'srn').name == 'net_g_100.pth'
    (runs.folder / 'validation.jsonl').unlink()
    assert best_checkpoint(runs.folder.parents[1], 'srn').name == 'net_g_300.pth'


def test_schedules():
    assert Schedule.of(1000) == Schedule(1000, 100)
    assert Schedule.of(3) == Schedule(10, 1)
