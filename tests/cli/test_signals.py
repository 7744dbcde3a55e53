"""SIGINT, SIGTERM and a closed pipe to commands of `usrdu`."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from experiments import Experiment, equal, options, write_data
from python_process import ROOT, check_script
from sample_images import write_sample_images
from usrdu_basicsr.utils.stop_signal import STOPPED

USRDU = ('-m', 'usrdu_basicsr')


def started(folder: Path, *arguments: str, stdout: int = subprocess.DEVNULL) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, *USRDU, *arguments],
        cwd=folder,
        env={**os.environ, 'PYTHONPATH': str(ROOT), 'USRDU_BASICSR_HOOK': '0', 'CUDA_VISIBLE_DEVICES': ''},
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_until(process: subprocess.Popen, pattern: str, folder: Path) -> None:
    deadline = time.monotonic() + 60
    while not list(folder.glob(pattern)):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.005)


@pytest.mark.parametrize(('number', 'status'), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_signal_removes_temporary_files(number: signal.Signals, status: int, tmp_path: Path):
    source = write_sample_images(tmp_path / 'hr', 1, 500, 500)[0]
    for index in range(1000):
        os.link(source, tmp_path / 'hr' / f'{index}.png')
    process = started(tmp_path, 'lmdb', '-i', 'hr', '--workers', '1', '--compression', '9')
    wait_until(process, '.hr.lmdb.*.tmp/data.mdb', tmp_path)
    process.send_signal(number)
    error = process.communicate(timeout=60)[1]
    assert process.returncode == status, error
    assert [path.name for path in tmp_path.iterdir()] == ['hr']
    assert 'Traceback' not in error


def test_closed_pipe_ends_a_command(tmp_path: Path):
    """As in `usrdu recipes show track1 | head`."""
    reader, writer = os.pipe()
    os.close(reader)
    process = started(tmp_path, 'recipes', 'show', 'track1', stdout=writer)
    os.close(writer)
    assert process.communicate(timeout=60)[1] == '' and process.returncode == 141


@pytest.mark.slow
@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGINT])
def test_signal_stops_a_training_that_resumes(number: signal.Signals, tmp_path: Path):
    write_data(tmp_path)
    for name in ('stopped', 'whole'):
        opt = options(name, 'srn', workers=1)
        opt['train']['total_iter'] = 40  # seconds longer than the time from the first checkpoint to the signal
        (tmp_path / f'{name}.yml').write_text(json.dumps(opt))
    process = started(tmp_path, 'train', '-opt', 'stopped.yml')
    wait_until(process, 'experiments/stopped/training_states/*.state', tmp_path)
    process.send_signal(number)
    error = process.communicate(timeout=60)[1]
    assert process.returncode == STOPPED, error
    assert 'Stopped by a signal.' in error and 'Traceback' not in error
    for arguments in (('stopped.yml', '--auto_resume'), ('whole.yml',)):
        check_script(*USRDU, 'train', '-opt', *arguments, cwd=tmp_path, CUDA_VISIBLE_DEVICES='')
    stopped, whole = (Experiment(tmp_path, name) for name in ('stopped', 'whole'))
    assert equal(stopped.content('latest'), whole.content('latest'))
