"""scripts/benchmarks/benchmark_busy_machine.py without the time that measurements need."""

import sys

import pytest

import benchmark_busy_machine as benchmark


def test_steps_are_timed(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(benchmark.logging, 'disable', lambda level: None)  # it would last beyond this test
    times = benchmark.time_steps(4)
    assert times and all(0 < step < 4 for step in times)


def test_prints_a_row_per_setting(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    medians = {(count, trainings): 0.1 * trainings**2 for count in benchmark.SPIN_COUNTS for trainings in (1, 2)}
    medians[None, 2] = 0.21
    monkeypatch.setattr(benchmark, 'measure', lambda spin_count, trainings, seconds: medians[spin_count, trainings])
    monkeypatch.setattr(sys, 'argv', ['benchmark_busy_machine.py', '--rounds', '2'])
    assert benchmark.main() == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()[1:]]
    assert rows[0] == ['300000', '0.100', '0.400', '4.00'] and rows[-1] == ['not', 'set', '0.100', '0.210', '2.10']
    assert len(rows) == len(benchmark.SPIN_COUNTS)


def test_environment_of_the_trainings(monkeypatch: pytest.MonkeyPatch):
    class Process:
        def __init__(self, command: list[str], env: dict[str, str], **_: object) -> None:
            started.append(env.get('GOMP_SPINCOUNT'))

        def communicate(self) -> tuple[str, None]:
            return '[0.1, 0.3]', None

    started: list[str | None] = []
    monkeypatch.setenv('GOMP_SPINCOUNT', '5')
    monkeypatch.setattr(benchmark.subprocess, 'Popen', Process)
    assert benchmark.measure('300000', 2, 1) == pytest.approx(0.2)
    assert benchmark.measure(None, 1, 1) == pytest.approx(0.2)
    assert started == ['300000', '300000', None]
