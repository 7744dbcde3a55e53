"""Shipped options files are checked and trained for one step; errors of invalid options."""

import sys
from copy import deepcopy
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
import yaml
from basicsr.archs import build_network
from basicsr.data import build_dataloader, build_dataset
from basicsr.models import build_model
from basicsr.utils.options import ordered_yaml, parse_options

from python_process import run_python
from sample_images import downsample_images, write_sample_images
from usrdu_basicsr.archs.dsn_arch import UncertaintyDSN
from usrdu_basicsr.data.kernel_set import write_kernel
from usrdu_basicsr.inference.generate_lr import generate_set
from usrdu_basicsr.options.option_rules import check_options
from usrdu_basicsr.options.preflight import _check_device, check_run
from usrdu_basicsr.utils.errors import InputError, InputNotFoundError, UserError

OPTIONS = Path(__file__).parents[2] / 'options'
PERCEPTUAL = {'type': 'UncertaintyPerceptualLoss', 'weights': 'none.pth'}
FILES = sorted(OPTIONS.rglob('*.yml'))


def read(path: Path) -> dict:
    return yaml.load(path.read_text(), Loader=ordered_yaml()[0])


@pytest.fixture
def parse(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Function that parses and checks options as a launcher does."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, 'excepthook', sys.excepthook)

    def parse(opt: dict, is_train: bool = True) -> dict:
        Path('run.yml').write_text(yaml.safe_dump(to_plain(opt)))
        monkeypatch.setattr(sys, 'argv', ['train.py', '-opt', 'run.yml'])
        return parse_options(str(tmp_path), is_train)[0]

    return parse


def to_plain(value):
    if isinstance(value, dict):
        return {key: to_plain(item) for key, item in value.items()}
    return [to_plain(item) for item in value] if isinstance(value, list) else value


def make_data(opt: dict) -> None:
    """Write small images, log-scale maps and kernels to the paths in the options."""
    if 'kernels' in opt.get('train', {}):
        write_kernel(Path(opt['train']['kernels']), 'box', np.full((5, 5), 1 / 25))
    for phase, dataset in opt['datasets'].items():
        if 'dataroot_gt' not in dataset:
            write_sample_images(Path(dataset['dataroot_lq']), 1, 20, 24)
            continue
        hr = Path(dataset['dataroot_gt'])
        write_sample_images(hr, 2, 80, 96)
        if 'dataroot_lq' in dataset:
            downsample_images(hr, Path(dataset['dataroot_lq']))
        if 'dataroot_log_scale' in dataset:
            dsn = UncertaintyDSN(num_feat=4, num_block=0)
            torch.save({'params': dsn.state_dict()}, 'dsn.pth')
            generated = Path(dataset['dataroot_lq']).parent
            for path in Path(dataset['dataroot_lq']).iterdir():
                path.unlink()
            generate_set(hr, generated, 'dsn.pth', torch.device('cpu'))
        if phase == 'train':
            dataset.update(gt_size=64, batch_size_per_gpu=1, num_worker_per_gpu=0, dataset_enlarge_ratio=1)
            dataset.pop('persistent_workers', None)


def make_checkpoints(opt: dict) -> None:
    """Save randomly initialised networks to the checkpoint paths in the options."""
    for net in ('g', 'dsn'):
        path = opt['path'].get(f'pretrain_network_{net}')
        if path is not None:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            torch.save({'params': build_network(opt[f'network_{net}']).state_dict()}, path)


@pytest.mark.slow
@pytest.mark.parametrize('path', FILES, ids=lambda path: f'{path.parent.name}/{path.stem}')
def test_every_recipe_is_built_and_stepped(path: Path, parse, monkeypatch: pytest.MonkeyPatch):
    opt = read(path)
    is_train = 'train' in opt
    percep = opt.get('train', {}).get('perceptual_opt')
    if percep and percep['type'] == 'UncertaintyPerceptualLoss':
        percep['weights'] = 'random'  # no download
    vgg19 = torchvision.models.vgg19
    monkeypatch.setattr('basicsr.archs.vgg_arch.vgg.vgg19', lambda pretrained: vgg19(weights=None, init_weights=False))
    opt['num_gpu'] = 0
    make_data(opt)
    make_checkpoints(opt)
    given = deepcopy(to_plain(opt))
    opt = parse(opt, is_train)
    model = build_model(opt)
    if is_train:
        dataset_opt = opt['datasets']['train']
        loader = build_dataloader(build_dataset(dataset_opt), dataset_opt, num_gpu=0, seed=0)
        model.feed_data(next(iter(loader)))
        model.optimize_parameters(1)
        log = model.get_current_log()
        assert log and all(torch.isfinite(torch.tensor(value)) for value in log.values())
    phase = 'val' if is_train else 'test_1'
    validation = build_dataloader(build_dataset(opt['datasets'][phase]), opt['datasets'][phase], num_gpu=0)
    metrics = opt['val'].get('metrics', {})
    if 'niqe' not in metrics:  # needs larger images
        model.validation(validation, 1, None, False)
        assert set(getattr(model, 'metric_results', {})) == set(metrics)
    assert given['train' if is_train else 'val'] == to_plain(opt['train' if is_train else 'val'])


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
    """Copy of the options with one value set, or removed if `value` is `...`."""
    opt = deepcopy(opt)
    section = opt
    for key in keys[:-1]:
        section = section[key]
    if value is ...:
        del section[keys[-1]]
    else:
        section[keys[-1]] = value
    return opt


@pytest.mark.parametrize(
    ('keys', 'value', 'message'),
    [
        (('manual_sed',), 1, "unknown key manual_sed: did you mean 'manual_seed'?"),
        (('datasets', 'train', 'use_flip'), True, "unknown key datasets: train: use_flip: did you mean 'use_hflip'?"),
        (('datasets', 'val', 'gt_siz'), 8, "unknown key datasets: val: gt_siz: did you mean 'gt_size'?"),
        (
            ('datasets', 'train', 'type'),
            'UnpairedDataset',
            "type: got 'UnpairedDataset', did you mean 'UnpairedImageDataset'?",
        ),
        (('datasets', 'train', 'gt_size'), ..., 'missing datasets: train: gt_size'),
        (('datasets', 'train', 'dataroot_lq'), ..., 'missing datasets: train: dataroot_lq'),
        (
            ('datasets', 'train', 'io_backend'),
            {'type': 'lmdb'},
            "train: io_backend: type: 'lmdb' contradicts dataroot_gt",
        ),
        (('datasets', 'train', 'io_backend'), {'type': 'memcached'}, "'memcached', expected disk or lmdb"),
        (('datasets', 'train', 'persistent_workers'), True, 'requires datasets: train: num_worker_per_gpu >= 1'),
        (('datasets', 'val', 'on_bad_image'), 'skip', 'unknown key datasets: val: on_bad_image'),
        (('network_g', 'num_blocks'), 4, "unknown key network_g: num_blocks: did you mean 'num_block'?"),
        (
            ('network_g', 'type'),
            'UncertaintyDNS',
            "network_g: type: got 'UncertaintyDNS', did you mean 'UncertaintyDSN'?",
        ),
        (('network_d', 'type'), ..., 'missing network_d: type'),
        (('network_d', 'num_in_ch'), ..., 'missing network_d: num_in_ch'),
        (('train', 'ema'), 1, "unknown key train: ema: did you mean 'ema_decay'?"),
        (('train', 'precison'), 'bf16', "unknown key train: precison: did you mean 'precision'?"),
        (('train', 'precision'), 'half', "train: precision: got 'half', expected one of fp32, tf32, bf16, fp16"),
        (('train', 'precision'), ['bf16'], "train: precision: got ['bf16'], expected one of fp32, tf32, bf16, fp16"),
        (('train', 'channels_last'), 1, 'train: channels_last: got 1, expected true or false'),
        (('train', 'compile'), 'fast', "train: compile: got 'fast', expected true, false, default, reduce-overhead"),
        (('train', 'accum_iter'), 0, 'train: accum_iter: got 0, expected a positive integer'),
        (('train', 'accum_iter'), 3, 'train: accum_iter: got 3, expected a divisor of batch_size_per_gpu, 1'),
        (('train', 'grad_clip'), -1, 'train: grad_clip: got -1, expected a positive number'),
        (
            ('train', 'max_nonfinite_iters'),
            True,
            'train: max_nonfinite_iters: got True, expected a positive integer',
        ),
        (('train', 'pixel_opt', 'weight'), 1, "unknown key train: pixel_opt: weight: did you mean 'loss_weight'?"),
        (('train', 'optim_g', 'beta'), 1, "unknown key train: optim_g: beta: did you mean 'betas'?"),
        (('train', 'optim_d', 'type'), 'AdamW', "train: optim_d: type: got 'AdamW', expected Adam"),
        (('train', 'optim_d'), ..., 'missing train: optim_d'),
        (('train', 'scheduler', 'type'), 'StepLR', "train: scheduler: type: got 'StepLR', did you mean 'MultiStepLR'?"),
        (('train', 'scheduler', 'milestones'), ..., 'missing train: scheduler: milestones'),
        (('train', 'total_iter'), ..., 'missing train: total_iter'),
        (
            ('train', 'perceptual_opt'),
            {'type': 'UncertaintyPerceptualLoss'},
            'gt_size: got 62, expected a multiple of 4 that is >= 64',
        ),
        (('val', 'metrics', 'psnr', 'type'), 'psnr', "type: got 'psnr', expected one of calculate_laplace_nll"),
        (('val', 'metrics', 'psnr', 'border'), 4, "border: did you mean 'crop_border'?"),
        (('path', 'pretrain_networkg'), 'x', "path: pretrain_networkg: did you mean 'pretrain_network_g'?"),
        (('logger', 'print_frequency'), 4, "print_frequency: did you mean 'print_freq'?"),
        (('network_g',), 'UncertaintyDSN', "network_g: got 'UncertaintyDSN', expected a mapping"),
        (('network_dsn',), {'type': 'UncertaintyDSN'}, 'unknown key network_dsn'),
        (('scale',), ..., 'missing scale'),
        (('datasets', 'train', 'gt_size'), 66, 'gt_size: got 66, expected a multiple of 4 that is >= 4'),
        (('datasets', 'train', 'type'), 'HRImageDataset', 'UncertaintyDSNModel does not train on HRImageDataset'),
        (('datasets', 'val', 'type'), 'SingleImageDataset', 'does not validate on SingleImageDataset'),
        (('datasets', 'val', 'io_backend'), ..., 'missing datasets: val: io_backend'),
        (('datasets', 'validation'), {}, 'datasets: validation: expected train, val'),
        (('datasets', 'train'), ..., 'missing datasets: train'),
        (('train', 'pixel_opt', 'type'), 'L1Loss', 'train: pixel_opt: type: L1Loss is not supported in stage 1'),
        (('train', 'low_frequency_opt'), {'type': 'LowFrequencyLoss'}, 'unknown key train: low_frequency_opt'),
        (('network_g', 'type'), 'RRDBNet', 'network_g: type: RRDBNet is not supported by UncertaintyDSNModel'),
        (('network_d',), None, 'train: gan_opt and optim_d require network_d'),
        (
            ('train', 'optim_g', 'lr'),
            '1e-4',
            "train: optim_g: lr: got text '1e-4', expected a number: write 0.0001 or !!float 1e-4",
        ),
        (('val', 'val_freq'), ..., 'missing val: val_freq'),
        (('val', 'save_img'), ..., 'missing val: save_img'),
        (('train', 'target'), 'kernels', "train: target: got 'kernels', expected bicubic or kernel"),
        (('train', 'target'), 'kernel', 'missing train: kernels'),
        (('train', 'kernels'), ['kernels'], 'train: kernels requires train: target: kernel'),
    ],
)
def test_invalid_options(dsn_opt: dict, keys: tuple, value: object, message: str):
    opt = changed(dsn_opt, *keys, value=value)
    if '>= 64' in message:
        opt = changed(opt, 'datasets', 'train', 'gt_size', value=62)
    before = deepcopy(opt)
    with pytest.raises(InputError) as caught:
        check_options(opt)
    assert message in str(caught.value)
    assert opt == before


@pytest.mark.parametrize(
    ('keys', 'value', 'message'),
    [
        (('datasets', 'train', 'type'), 'UnpairedImageDataset', 'does not train on UnpairedImageDataset'),
        (('datasets', 'train', 'type'), 'HRImageDataset', 'does not train on HRImageDataset'),
        (('network_dsn',), {'type': 'UncertaintyDSN'}, 'missing path: pretrain_network_dsn'),
        (('network_dsn',), {'type': 'UncertaintyDSN'}, 'does not train with network_dsn on UncertaintyPairedDataset'),
        (('train', 'pixel_opt', 'type'), 'LaplaceKLLoss', 'LaplaceKLLoss is not supported in stage 2'),
        (('train', 'high_pass_gain'), 4, 'unknown key train: high_pass_gain'),
        (('train', 'target'), 'kernel', 'unknown key train: target'),
        (('train', 'pixel_opt'), None, 'missing train: pixel_opt or perceptual_opt'),
        (('network_g',), {'type': 'UncertaintyDSN'}, 'UncertaintyDSN is not supported by GradientGANModel'),
        (
            ('val', 'metrics', 'psnr', 'type'),
            'calculate_laplace_nll',
            'calculate_laplace_nll is supported in stage 1 only',
        ),
    ],
)
def test_invalid_options_of_stage_2(srn_opt: dict, keys: tuple, value: object, message: str):
    with pytest.raises(InputError) as caught:
        check_options(changed(srn_opt, *keys, value=value))
    assert message in str(caught.value)


def test_all_problems_are_reported_at_once(dsn_opt: dict):
    opt = changed(changed(dsn_opt, 'network_g', 'feat', value=1), 'train', 'ema', value=1)
    with pytest.raises(InputError, match=r"options 'demo_dsn': unknown key network_g: feat.*; unknown key train: ema"):
        check_options(opt)


def test_valid_options_are_unchanged(dsn_opt: dict, srn_opt: dict):
    for opt in (dsn_opt, srn_opt):
        before, state = deepcopy(opt), torch.get_rng_state()
        check_run(opt)
        assert opt == before and torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize(
    ('keys', 'value', 'error', 'message'),
    [
        (
            ('datasets', 'val', 'dataroot_gt'),
            'nowhere',
            InputNotFoundError,
            "datasets: val: folder 'nowhere' does not exist",
        ),
        (('datasets', 'train', 'gt_size'), 512, InputError, 'datasets: train: image .* expected at least 512x512'),
        (('network_g', 'scale'), 2, InputError, r'network_g: got UncertaintyDSN of scale 2, expected scale 4 of the'),
        (('path', 'pretrain_network_g'), 'none.pth', InputNotFoundError, r"checkpoint 'none\.pth' does not exist"),
        (
            ('path', 'pretrain_network_g'),
            'other.pth',
            InputError,
            r'does not fit UncertaintyDSN: .*another architecture',
        ),
        (('path', 'pretrain_network_d'), 'other.pth', InputError, r'does not fit UNetDiscriminatorSN'),
        (('train', 'gan_opt', 'gan_type'), 'vanila', InputError, r'gan_opt: invalid settings of GANLoss: .*vanila'),
        (
            ('train', 'perceptual_opt'),
            PERCEPTUAL,
            InputNotFoundError,
            r"perceptual_opt: weights: file 'none.pth' does not exist",
        ),
        (('train', 'precision'), 'tf32', InputError, r'^train: precision: tf32 is not supported: .*\. Use fp32$'),
    ],
)
def test_impossible_runs_are_rejected(dsn_opt: dict, keys: tuple, value: object, error: type[UserError], message: str):
    torch.save({'params': UncertaintyDSN(num_feat=24, num_block=3, scale=2, residual=True).state_dict()}, 'other.pth')
    with pytest.raises(error, match=message):
        check_run(changed(dsn_opt, *keys, value=value))


@pytest.mark.slow
def test_compiling_without_a_compiler_is_rejected(tmp_path: Path):
    code = """
import usrdu_basicsr; usrdu_basicsr.register()
from usrdu_basicsr.options.option_rules import check_options
from usrdu_basicsr.options.preflight import _check_device
_check_device({'num_gpu': 0, 'dist': False, 'train': {'compile': True}})
"""
    none = str(tmp_path / 'none')
    result = run_python('-c', code, cwd=tmp_path, CXX=none, PATH=none, TORCHINDUCTOR_CACHE_DIR=str(tmp_path / 'cache'))
    line = result.stderr.strip().splitlines()[-1]
    assert 'InputError: train: compile: torch.compile fails on cpu' in line and 'or use compile: false' in line


@pytest.mark.parametrize('train', [{'compile': True}, {'precision': 'bf16'}])
def test_options_unsupported_by_dataparallel_are_rejected(train, monkeypatch):
    monkeypatch.setattr(torch.cuda, 'get_device_capability', lambda device: (9, 0))
    with pytest.raises(InputError, match=r'need one process per GPU. Use torchrun --nproc_per_node=2 '):
        _check_device({'num_gpu': 2, 'dist': False, 'train': train})
    _check_device({'num_gpu': 2, 'dist': False, 'train': {'precision': 'fp16'}})


def test_gradient_accumulation_requires_mean_losses(dsn_opt: dict):
    opt = changed(dsn_opt, 'train', 'accum_iter', value=2)
    opt['datasets']['train']['batch_size_per_gpu'] = 2
    opt = changed(opt, 'train', 'gan_opt', 'loss_weight', value=1)
    check_options(opt)
    with pytest.raises(
        InputError,
        match='perceptual_opt: got a loss that is not a mean over images, expected a mean for train: accum_iter',
    ):
        check_options(changed(opt, 'train', 'perceptual_opt', value={**PERCEPTUAL, 'criterion': 'fro'}))


def test_kernels_are_checked(dsn_opt: dict):
    opt = changed(changed(dsn_opt, 'train', 'target', value='kernel'), 'train', 'kernels', value='kernels')
    with pytest.raises(InputNotFoundError, match="train: kernels: folder 'kernels' does not exist"):
        check_run(opt)
    write_kernel(Path('kernels'), 'wide', np.full((65, 65), 1 / 65**2))
    with pytest.raises(
        InputError, match=r"train: kernels: kernel 'kernels/wide.npy': got 65x65 pixels, expected at most 64x64"
    ):
        check_run(opt)
    write_kernel(Path('kernels'), 'wide', np.full((63, 63), 1 / 63**2))
    check_run(opt)


def test_validation_pairs_must_match(dsn_opt: dict):
    folder = Path(dsn_opt['datasets']['val']['dataroot_lq'])
    (folder / 'astronaut.png').rename(folder / 'cosmonaut.png')
    with pytest.raises(
        InputError, match=r"val: '.*astronaut.png' has no partner of the same name .* \(1 more problems\)"
    ):
        check_run(dsn_opt)


def test_validation_pairs_must_have_the_scale(dsn_opt: dict):
    write_sample_images(Path(dsn_opt['datasets']['val']['dataroot_lq']), 1, 30, 40)
    with pytest.raises(InputError, match=r"astronaut.png': got \(30, 40\) pixels .*, expected 1/4 of \(80, 96\)"):
        check_run(dsn_opt)


def test_pairs_for_training_are_checked(srn_opt: dict):
    train = srn_opt['datasets']['train']
    pairs = {key: value for key, value in train.items() if key != 'dataroot_log_scale'}
    pairs |= {'type': 'PairedImageDataset', 'io_backend': {'type': 'disk'}}
    check_run(changed(srn_opt, 'datasets', 'train', value=pairs))
    with pytest.raises(InputError, match=r'expected at least 96x96 \(gt_size\)'):
        check_run(changed(srn_opt, 'datasets', 'train', value=pairs | {'gt_size': 96}))
    write_sample_images(Path(train['dataroot_gt']), 1, 81, 96)
    with pytest.raises(InputError, match=r'got \(20, 24\) pixels .*, expected 1/4 of \(81, 96\)'):
        check_run(changed(srn_opt, 'datasets', 'train', value=pairs))


def test_pairs_listed_in_a_meta_info_file(dsn_opt: dict, tmp_path: Path):
    """As in BasicSR, the list names HR images and `filename_tmpl` maps them to LR images."""
    val = dsn_opt['datasets']['val']
    folder = Path(val['dataroot_lq'])
    (folder / 'astronaut.png').rename(folder / 'astronautx4.png')
    (tmp_path / 'list.txt').write_text('astronaut.png (80,96,3)\n')
    val |= {'filename_tmpl': '{}x4', 'meta_info_file': str(tmp_path / 'list.txt')}
    check_run(dsn_opt)
    assert len(build_dataset(val | {'phase': 'val', 'scale': 4})) == 1
    (folder / 'astronautx4.png').unlink()
    with pytest.raises(InputError, match=r"astronaut.png' has no partner of the same name in"):
        check_run(dsn_opt)


def test_resumed_run_needs_no_initial_weights(srn_opt: dict):
    opt = changed(srn_opt, 'path', 'pretrain_network_g', value='gone.pth')
    with pytest.raises(InputNotFoundError, match=r'gone.pth'):
        check_run(opt)
    states = Path(opt['path']['training_states'])
    states.mkdir(parents=True)
    (states / 'notes.state').touch()  # not a state file of BasicSR
    with pytest.raises(InputNotFoundError, match=r'gone.pth'):
        check_run(opt | {'auto_resume': True})
    (states / '5.state').touch()
    check_run(opt | {'auto_resume': True})


@pytest.mark.skipif(torch.cuda.is_available(), reason='needs a machine without a GPU')
def test_missing_gpus_are_reported(dsn_opt: dict):
    with pytest.raises(InputError, match='num_gpu: got 1, but torch finds no CUDA GPU'):
        check_run(changed(dsn_opt, 'num_gpu', value=1))


def test_generator_of_another_scale(srn_opt: dict):
    with pytest.raises(
        InputError, match='network_g: got SRVGGNetCompact_basicsr of scale 2, expected scale 4 of the options'
    ):
        check_run(changed(srn_opt, 'network_g', 'upscale', value=2))
