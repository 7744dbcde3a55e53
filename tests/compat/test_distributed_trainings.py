"""Training, testing and scripts on two CPU ranks, started by torchrun or SLURM."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from experiments import Experiment, equal, options, write_data
from python_process import ROOT, check_python
from usrdu_basicsr.utils.stop_signal import STOPPED

pytestmark = pytest.mark.slow

ENVIRONMENT = {'CUDA_VISIBLE_DEVICES': '', 'PYTHONPATH': str(ROOT)}
TRAIN = ('-m', 'usrdu_basicsr', 'train', '-opt')
TORCHRUN = ('-m', 'torch.distributed.run', '--standalone', '--nproc_per_node', '2')


def run_options(folder: Path, name: str, batch_size: int) -> str:
    opt = options(name, 'dsn', workers=0, dsn='UncertaintyDSN')
    opt['logger']['save_checkpoint_freq'] = 10  # checkpoints of `UncertaintyDSN` are large
    opt['datasets']['train'] |= {'batch_size_per_gpu': batch_size, 'dataset_enlarge_ratio': 4}  # 12 images per epoch
    (folder / f'{name}.yml').write_text(json.dumps(opt))
    return f'{name}.yml'


@pytest.fixture(scope='module')
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp('distributed')
    write_data(folder)
    opt = run_options(folder, 'two', 2)
    check_python(*TORCHRUN, *TRAIN, opt, '--launcher', 'pytorch', cwd=folder, **ENVIRONMENT)
    return folder


def history(experiment: Experiment) -> list[dict]:
    return [json.loads(line) for line in (experiment.folder / 'validation.jsonl').read_text().splitlines()]


def test_two_ranks_equal_one_process_with_the_joint_batch(workspace: Path):
    check_python(*TRAIN, run_options(workspace, 'one', 4), cwd=workspace, **ENVIRONMENT)
    one, two = (Experiment(workspace, name) for name in ('one', 'two'))
    for net in 'gd':
        name = f'net_{net}_latest.pth'
        for key, expected in one.content('latest')[name].items():
            got = two.content('latest')[name][key]
            assert got.keys() == expected.keys()
            for weight, value in expected.items():
                # Adam turns rounding errors into steps where gradients are small; a step is at most 1e-3
                torch.testing.assert_close(got[weight], value, rtol=0, atol=1e-4, msg=weight)
    assert [record['iter'] for record in history(two)] == [5, 10, 15, 20, 25, 30]
    for one_record, two_record in zip(history(one), history(two), strict=True):  # images per rank: 2, 1
        assert two_record['metrics']['psnr'] == pytest.approx(one_record['metrics']['psnr'], abs=1e-3)


def wait_for_checkpoint(experiment: Experiment, process: subprocess.Popen) -> None:
    deadline = time.monotonic() + 120
    while not experiment.newest():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)


def test_torchrun_stops_on_a_signal_and_resumes(workspace: Path):
    command = [sys.executable, *TORCHRUN, *TRAIN, run_options(workspace, 'stopped', 2), '--launcher', 'pytorch']
    experiment = Experiment(workspace, 'stopped')
    with open(workspace / 'stopped.txt', 'w') as output:
        process = subprocess.Popen(
            command, cwd=workspace, env={**os.environ, **ENVIRONMENT}, stdout=output, stderr=subprocess.STDOUT
        )
        wait_for_checkpoint(experiment, process)
        ranks = Path(f'/proc/{process.pid}/task/{process.pid}/children').read_text().split()
        assert len(ranks) == 2
        for pid in (process.pid, *map(int, ranks)):  # as `scancel` does; torchrun then forwards its own signal
            os.kill(pid, signal.SIGTERM)
        process.wait(60)
    log = (workspace / 'stopped.txt').read_text()
    assert 'Stopped by a signal.' in log
    stopped = experiment.newest()
    assert 10 <= stopped < 30
    check_python(*command[1:], '--auto_resume', cwd=workspace, **ENVIRONMENT)
    assert (experiment.states / f'{stopped}.state').is_file()
    for iteration in (30, 'latest'):
        assert equal(experiment.content(iteration), Experiment(workspace, 'two').content(iteration))


def test_slurm_tasks_stop_together(workspace: Path, tmp_path: Path):
    """Start two processes with SLURM's environment variables and a fake `scontrol` that prints their host."""
    (tmp_path / 'scontrol').write_text('#!/bin/sh\necho 127.0.0.1\n')
    (tmp_path / 'scontrol').chmod(0o755)
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        slurm = {'MASTER_PORT': str(free.getsockname()[1]), 'SLURM_NTASKS': '2', 'SLURM_NODELIST': 'localhost'}
    slurm['PATH'] = f'{tmp_path}:{os.environ["PATH"]}'
    opt = run_options(workspace, 'slurm', 2)
    experiment = Experiment(workspace, 'slurm')
    tasks = [
        subprocess.Popen(
            [sys.executable, *TRAIN, opt, '--launcher', 'slurm'],
            cwd=workspace,
            env={
                **os.environ,
                **ENVIRONMENT,
                **slurm,
                'SLURM_PROCID': rank,
                'PATH': f'{tmp_path}:{os.environ["PATH"]}',
            },
        )
        for rank in '01'
    ]
    try:
        wait_for_checkpoint(experiment, tasks[0])
        tasks[1].send_signal(signal.SIGTERM)  # all tasks stop if one receives a signal
        assert [task.wait(60) for task in tasks] == [STOPPED, STOPPED]
    finally:
        for task in tasks:
            task.kill()
    assert 10 <= experiment.newest() < 30


def test_testing_on_two_ranks(workspace: Path):
    opt = options('tested', 'dsn', dsn='UncertaintyDSN') | {
        'datasets': {'test_1': options('', 'dsn')['datasets']['val']}
    }
    opt['path'] = {'pretrain_network_g': 'experiments/two/models/net_g_latest.pth', 'param_key_g': 'params_ema'}
    opt['val'] |= {'save_img': True, 'suffix': None}
    for key in ('train', 'logger', 'network_d'):
        del opt[key]
    (workspace / 'test.yml').write_text(json.dumps(opt))
    check_python(
        *(*TORCHRUN, '-m', 'usrdu_basicsr.test', '-opt', 'test.yml', '--launcher', 'pytorch'),
        cwd=workspace,
        **ENVIRONMENT,
    )
    results = workspace / 'results' / 'tested'
    psnr = float(next(results.glob('test_*.log')).read_text().split('# psnr: ')[1].split()[0])
    assert psnr == pytest.approx(history(Experiment(workspace, 'two'))[-1]['metrics']['psnr'], abs=1e-4)
    images = sorted(path.name for path in (results / 'visualization' / 'pairs').iterdir())
    assert images == sorted(
        f'{path.stem}_tested{kind}.png' for path in (workspace / 'hr').iterdir() for kind in ('', '_uncertainty')
    )


def test_scripts_on_two_ranks(workspace: Path):
    model = str(Path('experiments', 'two', 'models', 'net_g_latest.pth'))
    script = str(ROOT / 'scripts' / 'generate_lr.py')
    arguments = (script, '-i', 'hr', '--model_path', model, '-o')
    output = check_python(*TORCHRUN, *arguments, 'shared', cwd=workspace, **ENVIRONMENT)
    # Unbuffered, a rank writes its text and its newline apart, so the other's text may come between
    reports = sorted(output.replace('\n', '').replace('failed', 'failed\n').splitlines())
    assert reports == [f'{n} written, 0 skipped (already exist), 0 failed' for n in (1, 2)]
    check_python(*arguments, 'single', cwd=workspace, **ENVIRONMENT)
    files = [path.relative_to(workspace / 'single') for path in (workspace / 'single').rglob('[!.]*.*')]
    assert len(files) == 7
    for file in files:
        assert (workspace / 'shared' / file).read_bytes() == (workspace / 'single' / file).read_bytes(), file


GROUP_AT_EXIT = """
import atexit, torch
atexit.register(lambda: print(torch.distributed.is_initialized()))
from usrdu_basicsr import register
register()
from basicsr.utils.dist_util import init_dist
init_dist('pytorch')
print(torch.distributed.is_initialized())
"""


def test_process_group_ends_before_the_interpreter(tmp_path: Path):
    rank = {'RANK': '0', 'LOCAL_RANK': '0', 'WORLD_SIZE': '1', 'MASTER_ADDR': '127.0.0.1', 'MASTER_PORT': '0'}
    assert check_python('-c', GROUP_AT_EXIT, cwd=tmp_path, **ENVIRONMENT, **rank) == 'True\nFalse\n'
