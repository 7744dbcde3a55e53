"""Commands for training, LR generation, testing and inference: output files and error messages."""

import contextlib
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import basicsr
import cv2
import numpy as np
import pytest
import torch
import yaml
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from python_process import INSTALL_HOOK, ROOT, run_script
from sample_images import downsample_images, write_sample_images
from trainings import TrainingServer

pytestmark = pytest.mark.slow

STAGES = ('dsn', 'srn')


def loss(kind: str, weight: float = 1) -> dict:
    return {'type': kind, 'loss_weight': weight}


def options(stage: str, is_train: bool) -> dict:
    """Minimal options of a stage. Dataset paths are relative to the current folder."""
    pairs = {
        'name': 'pairs',
        'type': 'PairedImageDataset',
        'dataroot_gt': 'hr',
        'dataroot_lq': 'real',
        'io_backend': {'type': 'disk'},
    }
    if stage == 'dsn':
        network = {'type': 'UncertaintyDSN', 'num_feat': 8, 'num_block': 1, 'scale': 4, 'residual': True}
        losses = {'pixel_opt': loss('LaplaceKLLoss', 100)}
        data = {'type': 'UnpairedImageDataset', 'dataroot_lq': 'camera'}
    else:
        network = {'type': 'SRVGGNetCompact_basicsr', 'num_feat': 8, 'num_conv': 1, 'upscale': 4}
        losses = {'pixel_opt': loss('L1Loss'), 'low_frequency_opt': loss('LowFrequencyLoss')}
        data = {'type': 'UncertaintyPairedDataset', 'dataroot_lq': 'set/lr', 'dataroot_log_scale': 'set/log_scale'}
    opt = {
        'name': stage if is_train else f'{stage}_test',
        'model_type': {'dsn': 'UncertaintyDSNModel', 'srn': 'GradientGANModel'}[stage],
        'scale': 4,
        'num_gpu': 0,
        'manual_seed': 0,
        'network_g': network,
        'path': {'pretrain_network_g': None if is_train else f'experiments/{stage}/models/net_g_latest.pth'},
        'val': {
            'val_freq': 2,
            'save_img': True,
            'suffix': None,
            'metrics': {'psnr': {'type': 'calculate_psnr', 'crop_border': 0}},
        },
    }
    if not is_train:
        return opt | {'datasets': {'test_1': pairs}}
    adam = {'type': 'Adam', 'lr': 1e-4}
    data |= {'name': 'images', 'dataroot_gt': 'hr', 'gt_size': 64, 'batch_size_per_gpu': 1, 'num_worker_per_gpu': 0}
    return opt | {
        'datasets': {'train': data | {'dataset_enlarge_ratio': 4}, 'val': pairs},
        'network_d': {'type': 'UNetDiscriminatorSN_basicsr', 'num_in_ch': 3, 'num_feat': 4},
        'train': {
            'optim_g': adam,
            'optim_d': dict(adam),
            'scheduler': {'type': 'MultiStepLR', 'milestones': [100]},
            'total_iter': 2,
            'gan_opt': loss('GANLoss', 0.1) | {'gan_type': 'vanilla'},
            **losses,
        },
        'logger': {'print_freq': 1, 'save_checkpoint_freq': 2, 'use_tb_logger': True},
    }


class Workspace:
    """Working folder of a user and an environment with the start-up hook, as after `pip install`."""

    def __init__(self, folder: Path, site: Path) -> None:
        self.folder = folder
        site.mkdir()
        (site / 'sitecustomize.py').write_text(INSTALL_HOOK)
        self.environment = {**os.environ, 'PYTHONPATH': f'{site}{os.pathsep}{ROOT}', 'OMP_NUM_THREADS': '1'}
        checkout = folder / 'BasicSR' / 'basicsr'
        checkout.mkdir(parents=True)
        for name in ('train.py', 'test.py'):
            shutil.copy(Path(basicsr.__file__).parent / name, checkout / name)
        (folder / 'bin').mkdir()
        (folder / 'bin' / 'usrdu').write_text(CONSOLE_SCRIPT)
        for stage in STAGES:
            for kind in ('train', 'test'):
                self.write(options(stage, kind == 'train'), f'{kind}_{stage}.yml')

    def write(self, opt: dict, name: str) -> str:
        (self.folder / name).write_text(yaml.safe_dump(opt))
        return name

    def run(self, *arguments: str | Path) -> subprocess.CompletedProcess:
        return subprocess.run(
            [sys.executable, *arguments],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=300,
        )

    def check(self, *arguments: str | Path) -> str:
        result = self.run(*arguments)
        assert result.returncode == 0, result.stdout + result.stderr
        return result.stdout + result.stderr

    def error(self, *arguments: str | Path) -> str:
        """Last line of standard error of a command that fails without a traceback."""
        result = self.run(*arguments)
        assert result.returncode != 0
        assert 'Traceback' not in result.stderr, result.stderr
        return result.stderr.strip().splitlines()[-1]


@pytest.fixture(scope='module')
def server(workspace: Workspace) -> Iterator[TrainingServer]:
    """Training server in the same folder, for tests that do not depend on the form of the launcher."""
    server = TrainingServer(workspace.folder)
    yield server
    server.stop()


def error_of(server: TrainingServer, opt: dict) -> str:
    """Last line of the output of a training that fails without a traceback."""
    output = server.run(opt, status=1)
    assert 'Traceback' not in output, output
    return output.strip().splitlines()[-1]


def launcher(form: str, kind: str) -> list[str | Path]:
    return {
        'python -m basicsr': ['-m', f'basicsr.{kind}'],
        'a BasicSR checkout': [f'BasicSR/basicsr/{kind}.py'],
        'python usrdu_basicsr': [ROOT / 'usrdu_basicsr' / f'{kind}.py'],
        'python -m usrdu_basicsr.KIND': ['-m', f'usrdu_basicsr.{kind}'],
        'python -m usrdu_basicsr KIND': ['-m', 'usrdu_basicsr', kind],
        'usrdu': ['bin/usrdu', kind],
    }[form]


FORMS = [
    'python -m basicsr',
    'a BasicSR checkout',
    'python usrdu_basicsr',
    'python -m usrdu_basicsr.KIND',
    'python -m usrdu_basicsr KIND',
    'usrdu',
]
FORM_STAGES = list(zip(FORMS, STAGES * 3, strict=True))  # the stages have the same launcher
# As pip writes it
CONSOLE_SCRIPT = """#!/usr/bin/env python
import sys
from usrdu_basicsr.cli.main import main
if __name__ == '__main__':
    sys.exit(main())
"""
GENERATE = [ROOT / 'scripts' / 'generate_lr.py']
INFER = [ROOT / 'scripts' / 'inference.py']


@pytest.fixture(scope='module')
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    folder = tmp_path_factory.mktemp('user')
    write_sample_images(folder / 'hr', 2, 80, 96)
    write_sample_images(folder / 'camera', 2, 24, 32)
    downsample_images(folder / 'hr', folder / 'real')
    return Workspace(folder, tmp_path_factory.mktemp('environment') / 'site')


@pytest.fixture(scope='module')
def trained(workspace: Workspace) -> Workspace:
    """Working folder after training stage 1, generating LR images and training stage 2."""
    workspace.check('-m', 'basicsr.train', '-opt', 'train_dsn.yml')
    model = 'experiments/dsn/models/net_g_latest.pth'
    out = workspace.check(*GENERATE, '-i', 'hr', '-o', 'set', '--model_path', model)
    assert '2 written, 0 skipped (already exist), 0 failed' in out
    workspace.check('-m', 'basicsr.train', '-opt', 'train_srn.yml')
    return workspace


@pytest.mark.parametrize(('form', 'stage'), FORM_STAGES)
def test_every_launcher_form_trains_in_the_current_folder(trained: Workspace, form: str, stage: str):
    name = f'{stage} {form}'.replace(' ', '_')
    opt = trained.write(options(stage, True) | {'name': name}, f'{name}.yml')
    assert 'RuntimeWarning' not in trained.check(*launcher(form, 'train'), '-opt', opt)
    experiment = trained.folder / 'experiments' / name
    assert {path.name for path in (experiment / 'models').iterdir()} == {
        f'net_{net}_{step}.pth' for net in 'gd' for step in ('2', 'latest')
    }
    assert (experiment / 'training_states' / '2.state').is_file()
    assert list((trained.folder / 'tb_logger' / name).glob('events.*'))
    log = next(experiment.glob('train_*.log')).read_text()
    assert 'iter:       2' in log and 'l_g_gan' in log and '# psnr:' in log
    assert re.search(r'INFO: Iteration 2: \S+ s per iteration, 0 minutes to 2\.', log)
    images = experiment / 'visualization' / 'astronaut'
    assert (images / 'astronaut_2.png').is_file()
    assert (images / 'astronaut_2_uncertainty.png').is_file() == (stage == 'dsn')


@pytest.mark.parametrize(('form', 'stage'), FORM_STAGES)
def test_every_launcher_form_tests_in_the_current_folder(trained: Workspace, form: str, stage: str):
    shutil.rmtree(trained.folder / 'results', ignore_errors=True)
    trained.check(*launcher(form, 'test'), '-opt', f'test_{stage}.yml')
    results = trained.folder / 'results' / f'{stage}_test'
    assert '# psnr:' in next(results.glob('test_*.log')).read_text()
    image = cv2.imread(str(results / 'visualization' / 'pairs' / f'astronaut_{stage}_test.png'))
    assert image.shape == ((20, 24, 3) if stage == 'dsn' else (80, 96, 3))


def test_tensorboard_shows_the_runs(trained: Workspace):
    """BasicSR depends on tb-nightly. TensorBoard does not start if the package `tensorboard` is installed as well."""
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        port = free.getsockname()[1]
    server = subprocess.Popen(
        [sys.executable, '-m', 'tensorboard.main', '--logdir', 'tb_logger', '--port', str(port)],
        cwd=trained.folder,
        env=trained.environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        runs: list[str] = []
        deadline = time.monotonic() + 120
        while 'dsn' not in runs and time.monotonic() < deadline:
            assert server.poll() is None, server.stderr.read()
            time.sleep(1)
            with contextlib.suppress(URLError):  # the server has not started yet
                runs = json.load(urlopen(f'http://127.0.0.1:{port}/data/runs'))
        assert {'dsn', 'srn'} <= set(runs)
    finally:
        server.terminate()
        server.communicate()


@pytest.mark.parametrize(
    ('stage', 'kinds'), [('dsn', ['gt', 'result', 'uncertainty']), ('srn', ['gt', 'lq', 'result'])]
)
def test_tensorboard_shows_images(trained: Workspace, stage: str, kinds: list[str]):
    events = EventAccumulator(str(trained.folder / 'tb_logger' / stage), size_guidance={'images': 0}).Reload()
    assert sorted(events.Tags()['images']) == [f'pairs/{kind}' for kind in kinds]
    *_, shown = events.Images('pairs/result')  # the last validation repeats that of the last iteration
    written = trained.folder / 'experiments' / stage / 'visualization' / 'astronaut' / 'astronaut_2.png'
    image = cv2.imdecode(np.frombuffer(shown.encoded_image_string, np.uint8), cv2.IMREAD_COLOR)
    np.testing.assert_array_equal(image, cv2.imread(str(written)))
    assert shown.step == 2


def test_resuming_on_a_cpu_with_dsn_on_the_fly(trained: Workspace, server: TrainingServer):
    opt = options('srn', True)
    opt['name'] = 'resumed'
    opt['datasets']['train'] |= {'type': 'HRImageDataset', 'gt_size': 32, 'margin': 24}
    for key in ('dataroot_lq', 'dataroot_log_scale'):
        del opt['datasets']['train'][key]
    opt['network_dsn'] = options('dsn', True)['network_g']
    opt['path']['pretrain_network_dsn'] = 'experiments/dsn/models/net_g_latest.pth'
    server.run(opt)
    opt['train']['total_iter'] = 3
    out = server.run(opt, '--auto_resume')
    assert 'Resuming training from epoch: 0, iter: 2' in out
    assert 'iter:       3' in out and 'iter:       1,' not in out


def test_two_processes_train_stage_2_on_cpus(trained: Workspace):
    opt = options('srn', True) | {'name': 'distributed'}
    processes = ['-m', 'torch.distributed.run', '--standalone', '--nproc_per_node', '2']
    name = trained.write(opt, 'distributed.yml')
    trained.check(*processes, '-m', 'basicsr.train', '-opt', name, '--launcher', 'pytorch')
    experiment = trained.folder / 'experiments' / 'distributed'
    assert 'World size (gpu number): 2' in next(experiment.glob('train_*.log')).read_text()
    state = torch.load(experiment / 'models' / 'net_g_latest.pth', weights_only=True)['params']
    single = torch.load(trained.folder / 'experiments/srn/models/net_g_latest.pth', weights_only=True)['params']
    assert {key: value.shape for key, value in state.items()} == {key: value.shape for key, value in single.items()}
    model = 'experiments/distributed/models/net_g_latest.pth'
    trained.check(*processes, *INFER, '-i', 'camera', '-o', 'shared', '--model_path', model)
    assert len(list((trained.folder / 'shared').glob('*.png'))) == 2


def test_inference(trained: Workspace):
    model = 'experiments/srn/models/net_g_latest.pth'
    trained.check(*INFER, '-i', 'camera', '-o', 'upscaled', '--model_path', model)
    assert cv2.imread(str(trained.folder / 'upscaled' / 'chelsea.png')).shape == (96, 128, 3)
    trained.check(*INFER, '-i', 'camera/chelsea.png', '-o', 'one', '--model_path', model, '-opt', 'test_srn.yml')
    assert (trained.folder / 'one/chelsea.png').read_bytes() == (trained.folder / 'upscaled/chelsea.png').read_bytes()


def test_exit_status_of_scripts(trained: Workspace):
    write_sample_images(trained.folder / 'some', 1)
    (trained.folder / 'some' / 'broken.png').write_bytes(b'no image')
    model = {stage: f'experiments/{stage}/models/net_g_latest.pth' for stage in STAGES}
    result = trained.run(*GENERATE, '-i', 'some', '-o', 'some_set', '--model_path', model['dsn'])
    assert result.returncode == 1 and '1 written, 0 skipped (already exist), 1 failed' in result.stdout
    assert 'broken.png' in result.stderr and 'Traceback' not in result.stderr
    result = trained.run(*INFER, '-i', 'some', '-o', 'some_sr', '--model_path', model['srn'])
    assert result.returncode == 1 and '1 written, 0 skipped (already exist), 1 failed' in result.stdout
    for arguments, message in (
        ((*GENERATE, '-i', 'nowhere', '-o', 'x', '--model_path', model['dsn']), "folder 'nowhere' does not exist"),
        ((*GENERATE, '-i', 'hr', '-o', 'x', '--model_path', 'none.pth'), "checkpoint 'none.pth' does not exist"),
        ((*GENERATE, '-i', 'hr', '-o', 'x', '--model_path', model['srn']), 'is not an UncertaintyDSN'),
        ((*INFER, '-i', 'hr', '-o', 'x', '--model_path', model['dsn']), 'is a stage 1 DSN'),
        ((*INFER, '-i', 'hr', '-o', 'x', '--model_path', model['srn'], '-opt', 'none.yml'), 'none.yml'),
        (
            (*GENERATE, '-i', 'hr', '-o', 'x', '--model_path', model['dsn'], '--tile', '0'),
            '--tile: got 0, expected an integer >= 1',
        ),
    ):
        result = run_script(*arguments, cwd=trained.folder)
        assert result.returncode != 0 and 'Traceback' not in result.stderr
        assert message in result.stderr.splitlines()[-1]
        assert not (trained.folder / 'x').exists()


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        ({'dataroot_gt': 'nowhere'}, "datasets: train: dataroot_gt: folder 'nowhere' does not exist"),
        ({'dataroot_lq': 'empty'}, "datasets: train: folder 'empty' contains no image"),
        ({'gt_size': 128}, 'datasets: train: image .*astronaut.png'),
        ({'dataroot_lq': 'unreadable'}, "datasets: train: cannot read image 'unreadable/a.png'"),
        ({'use_flip': True}, "unknown key datasets: train: use_flip: did you mean 'use_hflip'"),
    ],
)
def test_invalid_data_is_rejected_before_a_folder_is_created(
    trained: Workspace, server: TrainingServer, change: dict, message: str
):
    (trained.folder / 'empty').mkdir(exist_ok=True)
    (trained.folder / 'unreadable').mkdir(exist_ok=True)
    (trained.folder / 'unreadable' / 'a.png').write_text('no image')
    opt = options('dsn', True) | {'name': 'bad'}
    opt['datasets']['train'] |= change
    line = error_of(server, opt)
    assert re.match(rf'error: \S+\.yml:\d+: {message}', line), line
    assert not (trained.folder / 'experiments' / 'bad').exists() and not (trained.folder / 'tb_logger' / 'bad').exists()


def test_diverging_run_names_its_losses_and_keeps_good_checkpoints(trained: Workspace, server: TrainingServer):
    opt = options('dsn', True) | {'name': 'diverged'}
    opt['train'] |= {'total_iter': 20, 'max_nonfinite_iters': 3, 'optim_g': {'type': 'Adam', 'lr': 1e30}}
    opt['logger']['save_checkpoint_freq'] = 1
    line = error_of(server, opt)
    assert line.startswith(
        'error: Training stopped after 3 consecutive iterations with non-finite l_g_kl, l_g_gan, l_d_'
    )
    assert 'gradient of net_g' in line and 'Resume with --auto_resume, or from an older checkpoint' in line
    experiment = trained.folder / 'experiments' / 'diverged'
    assert [path.name for path in (experiment / 'training_states').iterdir()] == ['1.state']
    log = next(experiment.glob('train_*.log')).read_text()
    assert log.count('Checkpoint skipped: non-finite l_g_kl') == 2
    for path in (experiment / 'models').iterdir():
        weights = torch.load(path, weights_only=True)['params']
        assert all(value.isfinite().all() for value in weights.values()), path.name


def test_invalid_checkpoint_is_rejected_before_the_run(trained: Workspace, server: TrainingServer):
    opt = options('srn', True) | {'name': 'bad'}
    opt['path']['pretrain_network_g'] = 'experiments/dsn/models/net_g_latest.pth'
    line = error_of(server, opt)
    assert "net_g_latest.pth' does not fit SRVGGNetCompact" in line and 'another architecture, size or scale' in line
    opt['path']['pretrain_network_g'] = None
    opt['network_g']['upscale'] = 2
    line = error_of(server, opt)
    assert line.endswith(': network_g: got SRVGGNetCompact_basicsr of scale 2, expected scale 4 of the options')
    assert not (trained.folder / 'experiments' / 'bad').exists()
