"""Where BasicSR's launchers write, how they resume and what they say about a user's mistakes."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import basicsr
import pytest
import torch
import yaml
from basicsr.models.lr_scheduler import MultiStepRestartLR
from basicsr.utils.options import parse_options

import usrdu_basicsr.pipeline
from usrdu_basicsr import _launch
from usrdu_basicsr.errors import InputError, InputNotFoundError, UserError

OPTIONS = {'name': 'run', 'model_type': 'SRModel', 'num_gpu': 0, 'datasets': {}, 'path': {}}
SITE = Path(basicsr.__file__).parents[1]


@pytest.fixture(autouse=True)
def in_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, 'excepthook', sys.excepthook)


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict]:
    def parse(root: Path | str = SITE, is_train: bool = True, **changes: object) -> dict:
        (tmp_path / 'options.yml').write_text(yaml.safe_dump({**OPTIONS, **changes}))
        monkeypatch.setattr(sys, 'argv', ['train.py', '-opt', 'options.yml'])
        return parse_options(root, is_train)[0]

    return parse


@pytest.mark.parametrize(
    ('root', 'expected'), [(str(SITE), 'here'), (str(SITE / 'basicsr' / '..'), 'here'), ('/own', '/own')]
)
def test_experiments_go_to_the_working_folder(run: Callable[..., dict], tmp_path: Path, root: str, expected: str):
    folder = str(tmp_path) if expected == 'here' else expected
    assert run(root)['path']['models'] == f'{folder}/experiments/run/models'
    assert run(root, is_train=False)['path']['results_root'] == f'{folder}/results/run'


def test_a_checkout_that_is_not_the_installed_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    checkout = tmp_path / 'checkout'
    monkeypatch.setattr(sys.modules['__main__'], '__file__', str(checkout / 'basicsr' / 'train.py'), raising=False)
    assert _launch.working_root(str(checkout)) == str(tmp_path)
    assert _launch.working_root(str(tmp_path / 'other')) == str(tmp_path / 'other')


def test_our_models_are_checked(run: Callable[..., dict], monkeypatch: pytest.MonkeyPatch):
    def check_run(opt: dict) -> None:
        raise UserError(f'checked {opt["model_type"]} of {opt["path"]["experiments_root"]}')

    preflight = ModuleType('usrdu_basicsr.pipeline.preflight')
    preflight.check_run = check_run
    monkeypatch.setitem(sys.modules, preflight.__name__, preflight)
    monkeypatch.setattr(usrdu_basicsr.pipeline, 'preflight', preflight, raising=False)
    for model in ('UncertaintyDSNModel', 'GradientGANModel'):
        with pytest.raises(UserError, match=f'checked {model} of .*/experiments/run'):
            run(model_type=model)
    assert run(model_type='SRModel')['name'] == 'run'


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        ('name: x\nscale: 4: 2\n', r'options.yml line 2: not valid YAML: '),
        ('a: b: c\n', r'options.yml line 1: not valid YAML: '),
        ('', r'expected a mapping of options, got NoneType'),
        ('name: x\ndatasets: {}\n', r'missing num_gpu, path; expected all of name, num_gpu, datasets, path'),
        ('name: x\nnum_gpu: 0\ndatasets: {}\npath: ~\n', r'path is None, expected a mapping'),
        (b'name: \xff\xfe\n', r'cannot read the options file'),
        (b'name: \x07\n', r'not valid YAML'),
    ],
)
def test_invalid_options_file(tmp_path: Path, content: str | bytes, message: str):
    path = tmp_path / 'options.yml'
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(InputError, match=message):
        _launch.check_options_file(['--launcher', 'none', '-opt', str(path), '--auto_resume'])


def test_missing_options_file(tmp_path: Path):
    with pytest.raises(InputNotFoundError, match=r'options file none\.yml does not exist'):
        _launch.check_options_file(['-opt', 'none.yml'])
    with pytest.raises(InputError, match='cannot read'):
        _launch.check_options_file(['-opt', str(tmp_path)])


def test_valid_options_files(tmp_path: Path):
    (tmp_path / 'options.yml').write_text('name: x\ndatasets: {}\npath: {}\n')
    _launch.check_options_file(['-opt', 'options.yml', '--force_yml', 'num_gpu=0', 'path:resume_state=a=b'])
    _launch.check_options_file([])  # BasicSR's parser reports this


def save_state(path: Path, iteration: int) -> None:
    """A state, and in the current folder's `models` the network that belongs to it."""
    Path('models').mkdir(exist_ok=True)
    Path('models', f'net_g_{iteration}.pth').touch()
    weight = torch.nn.Parameter(torch.ones(2))
    optimizer = torch.optim.Adam([weight], 1e-3)
    scheduler = MultiStepRestartLR(optimizer, milestones=[2, 4], gamma=0.5)
    weight.sum().backward()
    optimizer.step()
    scheduler.step()
    state = {'epoch': 1, 'iter': iteration}
    torch.save({**state, 'optimizers': [optimizer.state_dict()], 'schedulers': [scheduler.state_dict()]}, path)


def resume_options(tmp_path: Path, auto_resume: bool, **path: str) -> dict:
    folders = {'models': str(tmp_path / 'models'), 'training_states': str(tmp_path / 'states')}
    return {'network_g': {}, 'auto_resume': auto_resume, 'path': {**folders, 'resume_state': None, **path}}


def test_auto_resume_from_the_newest_state(tmp_path: Path):
    (tmp_path / 'states').mkdir()
    for iteration in (5, 200, 30):
        save_state(tmp_path / 'states' / f'{iteration}.state', iteration)
    (tmp_path / 'states' / 'notes.state').touch()
    opt = resume_options(tmp_path, auto_resume=True)
    state = _launch.load_resume_state(opt)
    assert (state['epoch'], state['iter']) == (1, 200)
    assert state['schedulers'][0]['milestones'] == {2: 1, 4: 1}
    assert state['optimizers'][0]['state'][0]['exp_avg'].device.type == 'cpu'
    assert opt['path']['pretrain_network_g'] == str(tmp_path / 'models' / 'net_g_200.pth')


def test_a_state_without_its_network(tmp_path: Path):
    (tmp_path / 'states').mkdir()
    save_state(tmp_path / 'states' / '5.state', 5)
    (tmp_path / 'models' / 'net_g_5.pth').unlink()
    with pytest.raises(InputNotFoundError, match=r"5\.state' lacks its network '.*net_g_5\.pth'"):
        _launch.load_resume_state(resume_options(tmp_path, auto_resume=True))


def test_the_dsn_of_stage_2_stays_the_same(tmp_path: Path):
    save_state(tmp_path / '7.state', 7)
    (tmp_path / 'dsn.pth').touch()
    dsn = {'pretrain_network_dsn': str(tmp_path / 'dsn.pth'), 'param_key_dsn': 'params_ema'}
    opt = resume_options(tmp_path, False, resume_state=str(tmp_path / '7.state'), **dsn) | {'network_dsn': {}}
    _launch.load_resume_state(opt)
    assert {key: opt['path'][key] for key in dsn} == dsn


def test_errors_of_data_workers_are_one_line(capsys: pytest.CaptureFixture[str]):
    _launch.show_user_errors()
    caught = InputError(
        'Caught InputError in DataLoader worker process 0.\nTraceback:\n  x\nerrors.InputError: bad: a.png\n'
    )
    sys.excepthook(InputError, caught, None)
    assert capsys.readouterr().err == 'error: bad: a.png\n'


def test_resume_from_a_named_state(tmp_path: Path):
    save_state(tmp_path / 'named.state', 7)
    assert _launch.load_resume_state(resume_options(tmp_path, False, resume_state='named.state'))['iter'] == 7
    with pytest.raises(InputNotFoundError, match=r"no checkpoint 'none\.state'"):
        _launch.load_resume_state(resume_options(tmp_path, False, resume_state='none.state'))


@pytest.mark.parametrize('auto_resume', [True, False])
def test_nothing_to_resume_from(tmp_path: Path, auto_resume: bool):
    assert _launch.load_resume_state(resume_options(tmp_path, auto_resume)) is None


@pytest.mark.parametrize('size', [0, 100, 1000])
def test_damaged_state(tmp_path: Path, size: int):
    (tmp_path / 'states').mkdir()
    path = tmp_path / 'states' / '5.state'
    save_state(path, 5)
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(InputError, match=r'cannot read checkpoint .*5\.state.*remove it'):
        _launch.load_resume_state(resume_options(tmp_path, auto_resume=True))


def test_user_errors_are_one_line(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    others: list[BaseException] = []
    monkeypatch.setattr(sys, 'excepthook', lambda kind, error, traceback: others.append(error))
    _launch.show_user_errors()
    ours = sys.excepthook
    _launch.show_user_errors()
    assert sys.excepthook is ours
    mistake, bug = InputNotFoundError('no such file: x.png'), ValueError('a bug')
    for error in (mistake, bug):
        sys.excepthook(type(error), error, None)
    assert capsys.readouterr().err == 'error: no such file: x.png\n'
    assert others == [bug]
