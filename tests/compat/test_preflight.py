"""Problems of the images, kernels, checkpoints and networks of a run, which are found before it creates a folder."""

import re
from copy import deepcopy
from pathlib import Path

import numpy as np
import pytest
import torch
from basicsr.data import build_dataset

from python_process import run_python
from recipe_runs import OPTIONS, make_data, read
from sample_images import write_sample_images
from usrdu_basicsr.archs.dsn_arch import UncertaintyDSN
from usrdu_basicsr.compat.preflight import _check_compilation, _check_precision, check_run
from usrdu_basicsr.data.kernel_set import write_kernel
from usrdu_basicsr.options.reading import Location, OptionsFile
from usrdu_basicsr.utils.errors import InputError

PERCEPTUAL = {'type': 'UncertaintyPerceptualLoss', 'weights': 'none.pth'}


def demo_options(name: str, parse) -> dict:
    """Write the data of an options file of the demo and return its options as completed by a launcher."""
    opt = read(OPTIONS / 'demo' / name)
    opt['num_gpu'] = 0
    make_data(opt)
    return parse(opt)


@pytest.fixture
def dsn_opt(parse) -> dict:
    return demo_options('train_dsn.yml', parse)


@pytest.fixture
def srn_opt(parse) -> dict:
    return demo_options('train_srn.yml', parse)


def changed(opt: dict, *keys: str, value: object) -> dict:
    """Copy of the options with one value set."""
    opt = deepcopy(opt)
    section = opt
    for key in keys[:-1]:
        section = section[key]
    section[keys[-1]] = value
    return opt


def problems(opt: dict) -> list[str]:
    """Problems of a run whose options file has `network_g` in line 30."""
    locations = {(): Location('run.yml', 1), ('network_g',): Location('run.yml', 30)}
    return [str(problem) for problem in check_run(opt, OptionsFile('run.yml', opt, locations))]


def assert_problem(opt: dict, pattern: str) -> None:
    (problem,) = problems(opt)
    assert re.search(pattern, problem), problem


def test_valid_options_are_unchanged(dsn_opt: dict, srn_opt: dict):
    for opt in (dsn_opt, srn_opt):
        before, state = deepcopy(opt), torch.get_rng_state()
        assert not problems(opt)
        assert opt == before and torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize(
    ('keys', 'value', 'message'),
    [
        (('datasets', 'val', 'dataroot_gt'), 'none', r"^run.yml:1: datasets: val: folder 'none' does not exist"),
        (('datasets', 'train', 'gt_size'), 512, r'^run.yml:1: datasets: train: image .* expected at least 512x512'),
        (('network_g', 'scale'), 2, r'^run.yml:30: network_g: got UncertaintyDSN of scale 2, expected scale 4 of the'),
        (('path', 'pretrain_network_g'), 'none.pth', r"^run.yml:30: network_g: checkpoint 'none\.pth' does not exist"),
        (('path', 'pretrain_network_g'), 'other.pth', r'does not fit UncertaintyDSN: .*another architecture'),
        (('path', 'pretrain_network_d'), 'other.pth', r'does not fit UNetDiscriminatorSN'),
        (('train', 'gan_opt', 'gan_type'), 'vanila', r'train: gan_opt: invalid settings of GANLoss: .*vanila'),
        (('train', 'perceptual_opt'), PERCEPTUAL, r"perceptual_opt: weights: file 'none.pth' does not exist"),
        (('train', 'pixel_opt', 'kernel_size'), 4, r'pixel_opt: .*kernel_size: got 4, expected a positive odd integer'),
        (('datasets', 'train', 'gt_size'), 80, r'gt_size: got 80, but UNetDiscriminatorSN fails on 20x20 pixels'),
        (('network_g', 'num_feat'), -3, r'network_g: invalid settings of UncertaintyDSN: '),
        (('train', 'precision'), 'tf32', r'train: precision: tf32 is not supported: .*\. Use fp32$'),
    ],
)
def test_impossible_runs_are_rejected(dsn_opt: dict, keys: tuple, value: object, message: str):
    torch.save({'params': UncertaintyDSN(num_feat=24, num_block=3, scale=2, residual=True).state_dict()}, 'other.pth')
    assert_problem(changed(dsn_opt, *keys, value=value), message)


def test_all_problems_at_once_in_the_order_of_lines(dsn_opt: dict):
    opt = changed(dsn_opt, 'network_g', 'scale', value=2)
    opt = changed(opt, 'datasets', 'train', 'dataroot_lq', value='none')
    opt = changed(opt, 'train', 'gan_opt', 'gan_type', value='vanila')
    found = problems(opt)
    assert [re.match(r'run.yml:(\d+): ((?:\w+: )+)', each).groups() for each in found] == [
        ('1', 'datasets: train: '),
        ('1', 'train: gan_opt: '),
        ('30', 'network_g: '),
    ]


@pytest.mark.slow
def test_compiling_without_a_compiler_is_rejected(tmp_path: Path):
    code = """
import usrdu_basicsr; usrdu_basicsr.register()
from usrdu_basicsr.archs.dsn_arch import UncertaintyDSN
from usrdu_basicsr.compat.preflight import _check_compilation
_check_compilation({'num_gpu': 0, 'dist': False, 'train': {'compile': True}})
"""
    none = str(tmp_path / 'none')
    result = run_python('-c', code, cwd=tmp_path, CXX=none, PATH=none, TORCHINDUCTOR_CACHE_DIR=str(tmp_path / 'cache'))
    line = result.stderr.strip().splitlines()[-1]
    assert 'InputError: torch.compile fails on cpu' in line and 'or use compile: false' in line


@pytest.mark.parametrize(
    ('check', 'train'), [(_check_compilation, {'compile': True}), (_check_precision, {'precision': 'bf16'})]
)
def test_options_unsupported_by_dataparallel_are_rejected(check, train: dict, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch.cuda, 'get_device_capability', lambda device: (9, 0))
    with pytest.raises(InputError, match=r'needs one process per GPU. Use torchrun --nproc_per_node=2 '):
        check({'num_gpu': 2, 'dist': False, 'train': train})
    check({'num_gpu': 2, 'dist': False, 'train': {'precision': 'fp16'}})


def test_kernels_are_checked(dsn_opt: dict):
    opt = changed(changed(dsn_opt, 'train', 'target', value='kernel'), 'train', 'kernels', value='kernels')
    assert_problem(opt, r"^run.yml:1: train: kernels: folder 'kernels' does not exist")
    write_kernel(Path('kernels'), 'wide', np.full((65, 65), 1 / 65**2))
    assert_problem(opt, r"train: kernels: kernel 'kernels/wide.npy': got 65x65 pixels, expected at most 64x64")
    write_kernel(Path('kernels'), 'wide', np.full((63, 63), 1 / 63**2))
    assert not problems(opt)
    network = {'type': 'UncertaintyDSN', 'num_feat': 8, 'num_block': 1, 'scale': 4, 'residual': True}
    opt = opt | {'network_g': network | {'kernel_size': 63}}
    assert not problems(opt)
    write_kernel(Path('kernels'), 'small', np.ones((1, 1)))
    assert_problem(opt, r'train: kernels: UncertaintyDSN: kernels: got 2 of 63x63 pixels, expected 1 of kernel_size 63')


def test_validation_pairs_must_match(dsn_opt: dict):
    folder = Path(dsn_opt['datasets']['val']['dataroot_lq'])
    (folder / 'astronaut.png').rename(folder / 'cosmonaut.png')
    assert_problem(dsn_opt, r"val: '.*astronaut.png' has no partner of the same name .*; 1 files of .*'cosmonaut.png'")


def test_validation_pairs_must_have_the_scale(dsn_opt: dict):
    write_sample_images(Path(dsn_opt['datasets']['val']['dataroot_lq']), 1, 30, 40)
    assert_problem(dsn_opt, r"astronaut.png': got \(30, 40\) pixels .*, expected 1/4 of \(80, 96\)")


def test_pairs_for_training_are_checked(srn_opt: dict):
    train = srn_opt['datasets']['train']
    pairs = {key: value for key, value in train.items() if key != 'dataroot_log_scale'}
    pairs |= {'type': 'PairedImageDataset', 'io_backend': {'type': 'disk'}}
    assert not problems(changed(srn_opt, 'datasets', 'train', value=pairs))
    assert_problem(changed(srn_opt, 'datasets', 'train', value=pairs | {'gt_size': 96}), r'at least 96x96 \(gt_size\)')
    write_sample_images(Path(train['dataroot_gt']), 1, 81, 96)
    opt = changed(srn_opt, 'datasets', 'train', value=pairs)
    assert_problem(opt, r'got \(20, 24\) pixels .*, expected 1/4 of \(81, 96\)')


def test_pairs_listed_in_a_meta_info_file(dsn_opt: dict, tmp_path: Path):
    """As in BasicSR, the list names HR images and `filename_tmpl` maps them to LR images."""
    val = dsn_opt['datasets']['val']
    folder = Path(val['dataroot_lq'])
    (folder / 'astronaut.png').rename(folder / 'astronautx4.png')
    (tmp_path / 'list.txt').write_text('astronaut.png (80,96,3)\n')
    val |= {'filename_tmpl': '{}x4', 'meta_info_file': str(tmp_path / 'list.txt')}
    assert not problems(dsn_opt)
    assert len(build_dataset(val | {'phase': 'val', 'scale': 4})) == 1
    (folder / 'astronautx4.png').unlink()
    assert_problem(dsn_opt, r"astronaut.png' has no partner of the same name in")


def test_resumed_run_needs_no_initial_weights(srn_opt: dict):
    opt = changed(srn_opt, 'path', 'pretrain_network_g', value='gone.pth')
    assert_problem(opt, 'gone.pth')
    states = Path(opt['path']['training_states'])
    states.mkdir(parents=True)
    (states / 'notes.state').touch()  # not a state file of BasicSR
    assert_problem(opt | {'auto_resume': True}, 'gone.pth')
    (states / '5.state').touch()
    assert not problems(opt | {'auto_resume': True})


@pytest.mark.skipif(torch.cuda.is_available(), reason='needs a machine without a GPU')
def test_missing_gpus_are_reported(dsn_opt: dict):
    assert_problem(changed(dsn_opt, 'num_gpu', value=1), 'num_gpu: got 1, but torch finds no CUDA GPU')


def test_generator_of_another_scale(srn_opt: dict):
    opt = changed(srn_opt, 'network_g', 'upscale', value=2)
    assert_problem(opt, 'network_g: got IdentitySRVGGNetCompact of scale 2, expected scale 4 of the options')


@pytest.mark.parametrize(('margin', 'valid'), [(20, False), (22, False), (24, True)])
def test_margin_must_cover_what_the_dsn_sees(srn_opt: dict, margin: int, valid: bool):
    opt = changed(srn_opt, 'network_dsn', value={'type': 'UncertaintyDSN', 'num_block': 2})
    opt['datasets']['train'] |= {'type': 'HRImageDataset', 'gt_size': 16, 'margin': margin}
    expected = f'margin: got {margin}, expected a multiple of the scale 4 that is >= 24 (receptive radius)'
    assert problems(opt) == ([] if valid else [f'run.yml:1: datasets: train: {expected}'])
