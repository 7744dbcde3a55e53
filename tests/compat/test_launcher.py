"""Output folders and error messages of BasicSR's launchers."""

import errno
import sys
from collections.abc import Callable
from pathlib import Path

import basicsr
import pytest
import torch
import yaml
from basicsr.archs.srvgg_arch import SRVGGNetCompact
from basicsr.utils.options import parse_options

from recipe_runs import OPTIONS, make_data, read
from sample_images import write_sample_images
from usrdu_basicsr.compat import launcher
from usrdu_basicsr.utils.errors import InputError, InputNotFoundError

OTHER_MODEL = {'name': 'run', 'model_type': 'SRModel', 'num_gpu': 0, 'datasets': {}, 'path': {}}
SITE = Path(basicsr.__file__).parents[1]


@pytest.fixture(autouse=True)
def in_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, 'excepthook', sys.excepthook)


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict]:
    def parse(root: Path | str = SITE, is_train: bool = True, **changes: object) -> dict:
        (tmp_path / 'options.yml').write_text(yaml.safe_dump({**OTHER_MODEL, **changes}))
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


def demo() -> dict:
    """Options of the demo, whose data are in the current folder."""
    opt = read(OPTIONS / 'demo' / 'train_dsn.yml') | {'num_gpu': 0}
    make_data(opt)
    return opt


@pytest.mark.parametrize('is_train', [True, False])
def test_options_are_those_that_basicsr_reads(parse: Callable[..., dict], monkeypatch, is_train: bool):
    """BasicSR reads the same file itself for a model of another package."""
    opt = demo() if is_train else options_of_a_test()
    arguments = ('--force_yml', 'manual_seed=7', 'val:save_img=False', 'scale=4')
    checked = parse(opt, is_train, arguments)
    monkeypatch.setattr(launcher, 'is_for_this_package', lambda path, forced: False)
    assert without_nulls(parse(opt, is_train, arguments)) == without_nulls(checked)
    assert checked['manual_seed'] == 7 and checked['val']['save_img'] is False


def without_nulls(options: dict) -> dict:
    """Options without `~`, which the checked ones lack."""
    return {k: without_nulls(v) if isinstance(v, dict) else v for k, v in options.items() if v is not None}


def options_of_a_test() -> dict:
    """Options of a test with one image."""
    write_sample_images(Path('lr'), 1)
    data = {'name': 'lr', 'type': 'SingleImageDataset', 'dataroot_lq': 'lr', 'io_backend': {'type': 'disk'}}
    val = {'save_img': True, 'suffix': None}
    network = {'type': 'SRVGGNetCompact_basicsr', 'num_feat': 4, 'num_conv': 1, 'upscale': 4}
    torch.save({'params': SRVGGNetCompact(num_feat=4, num_conv=1, upscale=4).state_dict()}, 'net.pth')
    return {
        'name': 'test',
        'model_type': 'GradientGANModel',
        'scale': 4,
        'num_gpu': 0,
        'datasets': {'test_1': data},
        'network_g': network,
        'path': {'pretrain_network_g': 'net.pth'},
        'val': val,
    }


def test_forced_values_are_checked_and_not_executed(parse: Callable[..., dict]):
    opt = demo()
    code = "__import__('pathlib').Path('executed').touch()"
    with pytest.raises(InputError, match='2 problems in options file') as caught:
        parse(opt, arguments=('--force_yml', f'train:total_iter={code}', 'train:ema=0.9', 'train:ema_decay=0.9'))
    assert f'--force_yml train:total_iter={code}: train: total_iter: got "{code}", expected an integer' in str(
        caught.value
    )
    assert "--force_yml train:ema=0.9: unknown key train: ema: did you mean 'ema_decay'?" in str(caught.value)
    assert not Path('executed').exists()
    assert parse(opt, arguments=('--force_yml', f'name={code[:20]}'))['name'] == code[:20]
    with pytest.raises(InputError, match='invalid YAML: could not determine a constructor'):
        parse(opt, arguments=('--force_yml', "name=!!python/object/apply:pathlib.Path.touch ['executed']"))
    assert not Path('executed').exists()


def test_problems_of_the_run_are_reported(parse: Callable[..., dict]):
    opt = demo()
    opt['network_g']['scale'] = 2
    with pytest.raises(InputError, match=r'^run\.yml:\d+: network_g: got UncertaintyDSN of scale 2, expected scale 4'):
        parse(opt)
    assert not Path('experiments').exists()


def test_options_file_in_the_folder_of_its_run_is_refused(parse: Callable[..., dict], monkeypatch: pytest.MonkeyPatch):
    """BasicSR renames that folder, and copies the options file into the new one."""
    parse(opt := demo())
    file = Path('experiments', opt['name'], 'run.yml')
    file.parent.mkdir(parents=True)
    Path('run.yml').rename(file)
    monkeypatch.setattr(sys, 'argv', ['train.py', '-opt', str(file), '--auto_resume'])
    with pytest.raises(InputError, match=r"-opt: 'experiments/.*/run.yml' is in the folder that the run writes"):
        parse_options(str(SITE), True)


def test_misspelled_model_type(run: Callable[..., dict]):
    with pytest.raises(InputError, match="model_type: got 'GradientGANModle', did you mean 'GradientGANModel'"):
        run(model_type='GradientGANModle')
    for other in ('MyGANModel', 'RealESRGANModel', 'SomeModel', None):
        assert run(model_type=other)['model_type'] == other, 'a program may register it later'


def test_options_of_other_models_are_read_by_basicsr(run: Callable[..., dict]):
    assert run(model_type='SRModel', anything={'key': 1})['anything'] == {'key': 1}


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
    bugs = [ValueError('a bug'), RuntimeError('a bug'), OSError(errno.EINVAL, 'a bug', 'x')]
    for error, message in (
        (InputNotFoundError('no such file: x.png'), 'no such file: x.png'),
        (
            PermissionError(errno.EACCES, 'denied', 'tb_logger'),
            "cannot access 'tb_logger' (denied). Check the",
        ),
        (RuntimeError("[enforce fail] can't allocate memory: 9 bytes"), 'out of memory ([enforce fail] can'),
        (torch.OutOfMemoryError('CUDA out of memory.\nmore'), 'out of memory (CUDA out of memory.). In a training'),
        (OSError(errno.ENOMEM, 'no memory'), 'out of memory ('),
        (OSError(errno.ENOSPC, 'full'), 'cannot access a file (full). Check the'),
        *((bug, '') for bug in bugs),
    ):
        sys.excepthook(type(error), error, None)
        output = capsys.readouterr().err
        assert output.startswith(f'error: {message}') and output.count('\n') == 1 if message else not output
    assert others == bugs
