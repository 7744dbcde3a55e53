"""Faults in training processes: kills, signals, full disks and corrupt files."""

import json
import os
import random
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from experiments import SAVE_FREQ, TOTAL, Experiment, equal, options, write_data
from tiny_runs import same
from trainings import Training, TrainingServer
from usrdu_basicsr.utils.stop_signal import REPEAT_SECONDS, STOPPED

pytestmark = pytest.mark.slow


@pytest.fixture(scope='module')
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TrainingServer]:
    folder = tmp_path_factory.mktemp('trainings')
    write_data(folder)
    server = TrainingServer(folder)
    yield server
    server.stop()


@pytest.fixture(scope='module')
def uninterrupted(server: TrainingServer) -> dict[str, Experiment]:
    """Training runs without a fault, by stage."""
    for stage in TOTAL:
        server.run(options(f'uninterrupted_{stage}', stage))
    return {stage: Experiment(server.folder, f'uninterrupted_{stage}') for stage in TOTAL}


def assert_as_uninterrupted(experiment: Experiment, reference: Experiment) -> None:
    for iteration in ('latest', reference.newest()):
        assert equal(experiment.content(iteration), reference.content(iteration)), iteration
    files = [each.folder / 'validation.jsonl' for each in (experiment, reference)]
    history, expected = (file.read_text().splitlines() for file in files)
    # a validation due at the resumed iteration is not repeated
    assert history[-1] == expected[-1] and set(history) <= set(expected)
    assert not list(experiment.folder.rglob('*.tmp'))


def test_comparison_detects_other_trainings(server: TrainingServer, uninterrupted: dict[str, Experiment]):
    """The comparisons below would be meaningless if all trainings ended with the same weights."""
    server.run(options('other', 'dsn') | {'manual_seed': 4})
    other, reference = Experiment(server.folder, 'other').content('latest'), uninterrupted['dsn'].content('latest')
    assert not same(other['net_g_latest.pth']['params'], reference['net_g_latest.pth']['params'])


def test_number_of_workers_has_no_effect(server: TrainingServer, uninterrupted: dict[str, Experiment]):
    server.run(options('workers', 'dsn', 0))
    assert_as_uninterrupted(Experiment(server.folder, 'workers'), uninterrupted['dsn'])


@pytest.mark.parametrize(('stage', 'kills'), [('dsn', 4), ('srn', 12)])
def test_killed_at_random_moments(server: TrainingServer, uninterrupted: dict[str, Experiment], stage: str, kills: int):
    experiment, rng = Experiment(server.folder, f'killed_{stage}'), random.Random(1)
    opt = options(f'killed_{stage}', stage)
    reached = []
    for kill in range(kills):
        training = server.start(opt, '--auto_resume')
        reached.append(experiment.newest())
        if kill % 2:  # at any time: start, loading, training or saving; the limit stops fast machines before the end
            deadline, limit = time.monotonic() + rng.uniform(0.1, 1.5), reached[-1] + TOTAL[stage] / kills / 2
            training.wait_until(lambda end=deadline, limit=limit: time.monotonic() > end or experiment.newest() > limit)
        else:  # during or shortly after the first save
            pending = experiment.models / f'net_d_{reached[-1] + SAVE_FREQ}.pth'
            training.wait_until(lambda path=pending: path.exists() or list(experiment.models.glob('.*.tmp')))
            time.sleep(rng.uniform(0, 0.15))
        training.kill()
    assert experiment.newest() < TOTAL[stage] and len(set(reached)) > kills / 3, reached
    server.run(opt, '--auto_resume')
    assert_as_uninterrupted(experiment, uninterrupted[stage])


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f'/proc/{pid}/task/{pid}/children').read_text().split()]


def started(server: TrainingServer, opt: dict, *arguments: str, before: str = '') -> tuple[Training, Experiment]:
    """Start a training and wait for its second new checkpoint."""
    experiment = Experiment(server.folder, opt['name'])
    old = experiment.newest()
    training = server.start(opt, *arguments, before=before)
    training.wait_until(lambda: experiment.newest() >= old + 2 * SAVE_FREQ)
    return training, experiment


# Data workers as under `--launcher`: spawned and with several threads, any of which may receive the signal
SPAWN = """
import multiprocessing, os
os.environ['OMP_NUM_THREADS'] = '2'
multiprocessing.set_start_method('spawn')
"""


@pytest.mark.parametrize(('number', 'before'), [(signal.SIGTERM, ''), (signal.SIGINT, ''), (signal.SIGTERM, SPAWN)])
def test_signal_to_all_processes(
    server: TrainingServer, uninterrupted: dict[str, Experiment], number: signal.Signals, before: str
):
    opt = options('signalled', 'dsn')
    opt['datasets']['train']['persistent_workers'] = True
    training, experiment = started(server, opt, before=before)
    assert len(children(training.pid)) == 2 + bool(before)  # with `spawn`, also the resource tracker
    os.killpg(training.pid, number)  # as a terminal or a scheduler does
    time.sleep(0.02)
    os.kill(training.pid, number)  # as a wrapper such as `timeout` forwards it
    assert training.wait() == STOPPED, training.output
    assert 'Stopped by a signal. Resume from the newest checkpoint with --auto_resume.' in training.output
    assert 'Traceback' not in training.output
    logged = int(training.output.split('iter:')[-1].split(',')[0])
    assert experiment.newest() in (logged, logged + 1)
    server.run(opt, '--auto_resume')
    assert_as_uninterrupted(experiment, uninterrupted['dsn'])
    shutil.rmtree(experiment.folder)


SLOW_STATE = """
import os, time
replace = os.replace
def slowly(source, target):
    if str(target).endswith('9.state'):
        open('saving', 'w').close()
        {hang}
    replace(source, target)
os.replace = slowly
"""


# Block in C code, where Python runs no signal handlers, as a rank does that waits for another rank
HANG = 'import ctypes; m = ctypes.create_string_buffer(64); f = ctypes.CDLL(None).pthread_mutex_lock; f(m); f(m)'


def test_sigterm_during_a_save(server: TrainingServer, uninterrupted: dict[str, Experiment]):
    (server.folder / 'saving').unlink(missing_ok=True)
    opt, experiment = options('saving', 'dsn'), Experiment(server.folder, 'saving')
    training = server.start(opt, before=SLOW_STATE.format(hang='time.sleep(1)'))
    training.wait_until((server.folder / 'saving').exists)
    os.killpg(training.pid, signal.SIGTERM)
    assert training.wait() == STOPPED, training.output
    assert experiment.newest() in (9, 10)
    assert 'Resumed from' in server.run(opt, '--auto_resume')
    assert_as_uninterrupted(experiment, uninterrupted['dsn'])


def test_second_signal_ends_immediately(server: TrainingServer, uninterrupted: dict[str, Experiment]):
    (server.folder / 'saving').unlink(missing_ok=True)
    opt, experiment = options('twice', 'dsn'), Experiment(server.folder, 'twice')
    training = server.start(opt, before=SLOW_STATE.format(hang=HANG))
    training.wait_until((server.folder / 'saving').exists)
    started_at = time.monotonic()
    for number in (signal.SIGINT, signal.SIGTERM):
        os.kill(training.pid, number)
        time.sleep(REPEAT_SECONDS + 0.2)
    assert training.wait() == 128 + signal.SIGTERM and time.monotonic() - started_at < 10
    assert experiment.newest() == 6
    server.run(opt, '--auto_resume')
    assert_as_uninterrupted(experiment, uninterrupted['dsn'])


SLOW_VALIDATION = """
import time
from usrdu_basicsr.models import validation
validate_image = validation._validate_image
def slowly(*arguments):
    open('validating', 'w').close()
    time.sleep(1)
    return validate_image(*arguments)
validation._validate_image = slowly
"""


def test_signal_interrupts_a_validation(server: TrainingServer, uninterrupted: dict[str, Experiment]):
    (server.folder / 'validating').unlink(missing_ok=True)
    opt, experiment = options('validating', 'dsn'), Experiment(server.folder, 'validating')
    training = server.start(opt, before=SLOW_VALIDATION)
    training.wait_until((server.folder / 'validating').exists)
    os.kill(training.pid, signal.SIGTERM)
    assert training.wait() == STOPPED
    assert experiment.newest() == 5  # not a multiple of `save_checkpoint_freq`
    assert not (experiment.folder / 'validation.jsonl').exists()
    shutil.rmtree(experiment.folder)


def test_killed_data_worker(server: TrainingServer, uninterrupted: dict[str, Experiment]):
    opt = options('worker', 'dsn')
    opt['datasets']['train']['persistent_workers'] = True  # otherwise, workers exit at the end of an epoch
    training, experiment = started(server, opt)
    os.kill(children(training.pid)[0], signal.SIGKILL)
    assert training.wait() == 1
    last = training.output.strip().splitlines()[-1]
    assert last.startswith(
        'error: a data worker was killed, possibly for lack of memory. Lower datasets: train: num_worker_per'
    )
    assert last.endswith('Resume from the newest checkpoint with --auto_resume') and 'Traceback' not in training.output
    server.run(opt, '--auto_resume')
    assert_as_uninterrupted(experiment, uninterrupted['dsn'])


FILE_SIZE_LIMIT = """
import resource
resource.setrlimit(resource.RLIMIT_FSIZE, ({size}, {size}))
"""


@pytest.mark.parametrize('size', [40_000, 100_000])  # smaller than a weights file; smaller than a training state
def test_full_disk(server: TrainingServer, uninterrupted: dict[str, Experiment], size: int):
    opt = options('full', 'dsn', 0)  # the limit also applies to the shared memory of data workers
    training, experiment = started(server, opt)
    training.kill()
    before = experiment.newest()
    intact = experiment.content(before)
    out = server.run(opt, '--auto_resume', before=FILE_SIZE_LIMIT.format(size=size), status=1)
    last = out.strip().splitlines()[-1]
    assert last.startswith("error: cannot write '") and '(File too large)' in last and 'Free disk space' in last
    assert experiment.newest() == before and equal(experiment.content(before), intact)
    assert not list(experiment.folder.rglob('*.tmp'))
    server.run(opt, '--auto_resume')
    assert_as_uninterrupted(experiment, uninterrupted['dsn'])
    shutil.rmtree(experiment.folder)


def test_second_run_of_the_same_name_is_refused(server: TrainingServer, uninterrupted: dict[str, Experiment]):
    """BasicSR would rename the folder that the first run writes into."""
    opt = options('shared', 'dsn')
    training, experiment = started(server, opt)
    os.kill(training.pid, signal.SIGSTOP)  # it must not end before
    for arguments in ((), ('--auto_resume',)):
        message = f"error: name: another process is writing into '{experiment.folder.resolve()}'. Wait for it"
        assert server.run(opt, *arguments, status=1).strip().splitlines()[-1].startswith(message)
    os.kill(training.pid, signal.SIGCONT)
    server.run(options('other_name', 'dsn') | {'name': 'other_name'})
    assert training.wait() == 0, training.output
    assert_as_uninterrupted(experiment, uninterrupted['dsn'])
    assert not list(experiment.folder.parent.glob('shared_archived*'))
    training, _ = started(server, opt | {'name': 'shared_killed'})
    os.kill(training.pid, signal.SIGKILL)  # not its data workers, which have no lock
    assert training.wait() == -signal.SIGKILL
    server.run(opt | {'name': 'shared_killed'}, '--auto_resume')
    assert_as_uninterrupted(Experiment(server.folder, 'shared_killed'), uninterrupted['dsn'])


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1000])


def test_damaged_checkpoints(server: TrainingServer, uninterrupted: dict[str, Experiment]):
    opt, experiment = options('damaged', 'dsn'), Experiment(server.folder, 'damaged')
    training = server.start(opt)
    training.wait_until(lambda: experiment.newest() >= 12)
    training.kill()
    newest = experiment.newest()
    truncate(experiment.states / f'{newest}.state')
    truncate(experiment.models / f'net_g_{newest - SAVE_FREQ}.pth')
    (experiment.models / f'net_d_{newest - 2 * SAVE_FREQ}.pth').unlink()
    server.run(opt, '--auto_resume')
    log = max(experiment.folder.glob('train_damaged_*.log')).read_text()
    warnings = [line for line in log.splitlines() if 'WARNING: Checkpoint skipped: ' in line]
    assert f"{newest}.state': corrupt or not a checkpoint" in warnings[0]
    assert f"net_g_{newest - SAVE_FREQ}.pth': corrupt or not a checkpoint" in warnings[1]
    assert 'does not exist. Resume from another state' in warnings[2] and len(warnings) == 3
    assert f"Resumed from '{experiment.states / str(newest - 3 * SAVE_FREQ)}.state' at iteration " in log
    assert_as_uninterrupted(experiment, uninterrupted['dsn'])


def test_last_and_best_checkpoints_are_kept(server: TrainingServer, uninterrupted: dict[str, Experiment]):
    opt = options('kept', 'dsn')
    opt['logger'] |= {'keep_checkpoints': 2, 'save_checkpoint_freq': 5}
    training, experiment = started(server, opt)
    training.kill()
    server.run(opt, '--auto_resume')
    records = map(json.loads, (experiment.folder / 'validation.jsonl').read_text().splitlines())
    psnr = {record['iter']: record['metrics']['psnr'] for record in records}
    measured = [iteration for iteration in (5, 10, 15, 20, 25) if iteration in psnr]  # 30 is measured later
    kept = {25, 30, max(measured, key=psnr.get)}
    assert {int(path.stem) for path in experiment.states.iterdir()} == kept
    names = {f'net_{net}_{iteration}.pth' for net in 'gd' for iteration in (*kept, 'latest')}
    assert {path.name for path in experiment.models.iterdir()} == names
    assert equal(experiment.content('latest'), uninterrupted['dsn'].content('latest'))
