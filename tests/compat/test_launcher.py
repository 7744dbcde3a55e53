"""Output folders and error messages of BasicSR's launchers."""

import sys
from collections.abc import Callable
from pathlib import Path

import basicsr
import pytest
import yaml
from basicsr.utils.options import parse_options

from usrdu_basicsr.compat import launcher
from usrdu_basicsr.options import reading
from usrdu_basicsr.utils.errors import InputError, InputNotFoundError, UserError

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
def test_output_folder(run: Callable[..., dict], tmp_path: Path, root: str, expected: str):
    folder = str(tmp_path) if expected == 'here' else expected
    assert run(root)['path']['models'] == f'{folder}/experiments/run/models'
    assert run(root, is_train=False)['path']['results_root'] == f'{folder}/results/run'


def test_checkout_of_basicsr(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    checkout = tmp_path / 'checkout'
    monkeypatch.setattr(sys.modules['__main__'], '__file__', str(checkout / 'basicsr' / 'train.py'), raising=False)
    assert launcher.working_root(str(checkout)) == str(tmp_path)
    assert launcher.working_root(str(tmp_path / 'other')) == str(tmp_path / 'other')


def test_options_of_this_package_are_checked(run: Callable[..., dict], monkeypatch: pytest.MonkeyPatch):
    def check_run(opt: dict) -> None:
        raise UserError(f'checked {opt["model_type"]} of {opt["path"]["experiments_root"]}')

    monkeypatch.setattr(launcher, 'check_run', check_run)
    for model in ('UncertaintyDSNModel', 'GradientGANModel'):
        with pytest.raises(UserError, match=f'checked {model} of .*/experiments/run'):
            run(model_type=model)
    assert run(model_type='SRModel')['name'] == 'run'


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        ('name: x\nscale: 4: 2\n', r"options.yml', line 2: invalid YAML: "),
        ('a: b: c\n', r"options.yml', line 1: invalid YAML: "),
        ('', r'got NoneType, expected a mapping of options'),
        ('name: x\ndatasets: {}\n', r"options file '.*options.yml': missing num_gpu, path"),
        ('name: x\nnum_gpu: 0\ndatasets: {}\npath: ~\n', r'path: got None, expected a mapping'),
        (b'name: \xff\xfe\n', r'cannot read options file'),
        (b'name: \x07\n', r'invalid YAML'),
        ('name: x\nnum_gpu: 0\ndatasets: {}\npath: {}\nmanual_seed: -1\n', r'manual_seed: got -1, expected an integer'),
    ],
)
def test_invalid_options_file(tmp_path: Path, content: str | bytes, message: str):
    path = tmp_path / 'options.yml'
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(InputError, match=message):
        reading.check_options_file(['--launcher', 'none', '-opt', str(path), '--auto_resume'])


def test_missing_options_file(tmp_path: Path):
    with pytest.raises(InputNotFoundError, match=r"options file 'none\.yml' does not exist"):
        reading.check_options_file(['-opt', 'none.yml'])
    with pytest.raises(InputError, match='cannot read'):
        reading.check_options_file(['-opt', str(tmp_path)])


def test_valid_options_files(tmp_path: Path):
    (tmp_path / 'options.yml').write_text('name: x\ndatasets: {}\npath: {}\n')
    reading.check_options_file(['-opt', 'options.yml', '--force_yml', 'num_gpu=0', 'path:resume_state=a=b'])
    reading.check_options_file([])  # BasicSR's parser reports this


def test_errors_of_data_workers_are_one_line(capsys: pytest.CaptureFixture[str]):
    launcher.show_user_errors()
    caught = InputError(
        'Caught InputError in DataLoader worker process 0.\nTraceback:\n  x\nerrors.InputError: bad: a.png\n'
    )
    sys.excepthook(InputError, caught, None)
    assert capsys.readouterr().err == 'error: bad: a.png\n'


def test_user_errors_are_one_line(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    others: list[BaseException] = []
    monkeypatch.setattr(sys, 'excepthook', lambda kind, error, traceback: others.append(error))
    launcher.show_user_errors()
    installed = sys.excepthook
    launcher.show_user_errors()
    assert sys.excepthook is installed
    mistake, bug = InputNotFoundError('no such file: x.png'), ValueError('a bug')
    for error in (mistake, bug):
        sys.excepthook(type(error), error, None)
    assert capsys.readouterr().err == 'error: no such file: x.png\n'
    assert others == [bug]
