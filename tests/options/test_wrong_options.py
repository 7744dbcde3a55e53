"""Every kind of mistake in an options file: its message, its file and line, and its rejection by the JSON Schema."""

from pathlib import Path

import jsonschema
import pytest

from usrdu_basicsr.options.checking import check_options, raise_problems
from usrdu_basicsr.options.json_schema import json_schema
from usrdu_basicsr.options.reading import read_options_file
from usrdu_basicsr.utils.errors import InputError

OPTIONS = Path(__file__).parents[2] / 'options'
BASES = {name: OPTIONS / 'demo' / f'train_{name}.yml' for name in ('dsn', 'srn')} | {
    'test': OPTIONS / 'track1' / 'test_srn.yml',
    'srn_gan': OPTIONS / 'track1' / 'train_srn.yml',
    'fly': OPTIONS / 'track1' / 'train_srn_on_the_fly.yml',
    'track2': OPTIONS / 'track2' / 'train_dsn.yml',
}
# Base, text of it, replacement, message, and the beginning of the line of the problem if it is not the replacement.
TYPOS = [
    ('dsn', 'betas: [0.9, 0.999]', 'beta: [0.9, 0.999]', "unknown key train: optim_g: beta: did you mean 'betas'?"),
    ('srn', 'pretrain_network_g: ~', 'pretrain_networkg: ~', "networkg: did you mean 'pretrain_network_g'?"),
    ('dsn', 'manual_seed: 0', 'manual_sed: 0', "unknown key manual_sed: did you mean 'manual_seed'?"),
    ('dsn', 'use_hflip: true', 'use_flip: true', "unknown key datasets: train: use_flip: did you mean 'use_hflip'?"),
    ('dsn', 'num_block: 3', 'num_blocks: 3', "unknown key network_g: num_blocks: did you mean 'num_block'?"),
    ('dsn', 'ema_decay: 0.99', 'ema: 0.99', "unknown key train: ema: did you mean 'ema_decay'?"),
    ('dsn', 'ema_decay: 0.99', 'precison: bf16', "unknown key train: precison: did you mean 'precision'?"),
    ('dsn', 'loss_weight: 100', 'weight: 100', "unknown key train: pixel_opt: weight: did you mean 'loss_weight'?"),
    ('dsn', 'milestones: [900]', 'milestone: [900]', "key train: scheduler: milestone: did you mean 'milestones'?"),
    ('dsn', 'crop_border: 0', 'border: 0', "unknown key val: metrics: psnr: border: did you mean 'crop_border'?"),
    ('dsn', 'resume_state: ~', 'resume_stat: ~', "unknown key path: resume_stat: did you mean 'resume_state'?"),
    ('dsn', 'print_freq: 100', 'print_frequency: 1', "key logger: print_frequency: did you mean 'print_freq'?"),
    ('dsn', 'save_img: true', 'save_image: true', "unknown key val: save_image: did you mean 'save_img'?"),
    ('dsn', '  type: UncertaintyDSN', '  type: UncertaintyDNS', "got 'UncertaintyDNS', did you mean 'UncertaintyDSN'?"),
    ('dsn', 'type: UnpairedImageDataset', 'type: UnpairedDataset', "did you mean 'UnpairedImageDataset'?"),
    ('dsn', 'type: MultiStepLR', 'type: StepLR', "train: scheduler: type: got 'StepLR', did you mean 'MultiStepLR'?"),
    ('dsn', 'type: LaplaceKLLoss', 'type: LaplaceKLoss', "got 'LaplaceKLoss', did you mean 'LaplaceKLLoss'?"),
    ('dsn', 'type: calculate_psnr', 'type: psnr', "val: metrics: psnr: type: got 'psnr', expected one of calculate_"),
    ('dsn', '  val:\n', '  vall:\n', 'unknown key datasets: vall'),
    ('srn', 'upscale: 4', 'upscal: 4', "unknown key network_g: upscal: did you mean 'upscale'?"),
]
TYPES = [
    ('dsn', 'type: LaplaceKLLoss', 'type: [LaplaceKLLoss]', "pixel_opt: type: got ['LaplaceKLLoss'], did you mean"),
    ('dsn', 'crop_border: 0', "crop_border: '4'", "crop_border: got text '4', expected an integer >= 0: write 4"),
    ('dsn', 'milestones: [900]', 'milestones: [9e2]', "milestones: got ['9e2'], expected a list of integers"),
    (
        'srn_gan',
        "'conv5_4': 1",
        "'conv5_4': 1e-1",
        "got {'conv5_4': '1e-1'}, expected a mapping to numbers",
        'layer_weights:',
    ),
    (
        'dsn',
        'batch_size_per_gpu: 8',
        'batch_size_per_gpu: 2.5',
        'batch_size_per_gpu: got 2.5, expected an integer >= 1',
    ),
    ('dsn', 'ema_decay: 0.99', 'precision: [bf16]', "precision: got ['bf16'], expected one of fp32, tf32, bf16, fp16"),
    ('dsn', 'ema_decay: 0.99', 'max_nonfinite_iters: true', 'max_nonfinite_iters: got true, expected an integer >= 1'),
    ('dsn', 'total_iter: 1100', 'total_iter:', 'train: total_iter: got ~, expected an integer >= 1'),
    ('dsn', 'scale: 4', 'scale: four', "scale: got 'four', expected an integer >= 1"),
    ('dsn', 'num_gpu: auto', 'num_gpu: all', "num_gpu: got 'all', expected an integer >= 0 or auto"),
    ('dsn', 'gt_size: 64', "gt_size: '64'", "datasets: train: gt_size: got text '64', expected an integer >= 1"),
    ('dsn', 'use_rot: true', 'use_rot: 1', 'datasets: train: use_rot: got 1, expected true or false'),
    ('dsn', 'lr: !!float 1e-3', 'lr: 1e-3', "got text '1e-3', expected a number: write 0.001"),
    ('dsn', 'betas: [0.9, 0.999]', 'betas: 0.9', 'train: optim_g: betas: got 0.9, expected a list of 2 numbers'),
    ('dsn', 'betas: [0.9, 0.999]', 'betas: [0.9]', 'train: optim_g: betas: got [0.9], expected a list of 2 numbers'),
    (
        'dsn',
        'network_g:\n',
        'network_g: UncertaintyDSN\nother:\n',
        "network_g: got 'UncertaintyDSN', expected a mapping",
    ),
    ('dsn', 'total_iter: 1100', 'total_iter: many', "train: total_iter: got 'many', expected an integer >= 1"),
    ('dsn', 'total_iter: 1100', 'total_iter: 1100.5', 'train: total_iter: got 1100.5, expected an integer >= 1'),
    ('dsn', 'use_tb_logger: true', 'use_tb_logger: 1', 'logger: use_tb_logger: got 1, expected true or false'),
    ('dsn', 'name: demo_dsn', 'name: 2024', 'name: got 2024, expected text'),
    ('dsn', 'ema_decay: 0.99', 'channels_last: 1', 'train: channels_last: got 1, expected true or false'),
    ('dsn', 'residual: true', 'residual: 1', 'network_g: residual: got 1, expected true or false'),
]
RANGES = [
    ('dsn', 'name: demo_dsn', 'name: ..', "name: got '..', expected text without / and \\"),
    ('dsn', 'ema_decay: 0.99', 'warmup_iter: -5', 'train: warmup_iter: got -5, expected an integer >= -1'),
    (
        'dsn',
        'num_in_ch: 3\n  num_feat: 32',
        'num_in_ch: 0\n  num_feat: 32',
        'num_in_ch: got 0, expected an integer >= 1',
    ),
    ('dsn', 'gan_type: vanilla', 'gan_type: vanila', "gan_type: got 'vanila', expected one of vanilla, lsgan"),
    (
        'dsn',
        'name: demo_validation',
        "filename_tmpl: 'x'\n    name: v",
        "filename_tmpl: got 'x', expected text with one {}",
    ),
    ('dsn', 'high_pass_gain: 16', 'high_pass_gain: -1', 'train: high_pass_gain: got -1, expected a number > 0'),
    ('dsn', 'scale: 4', 'scale: 0', 'scale: got 0, expected an integer >= 1'),
    ('dsn', 'manual_seed: 0', 'manual_seed: -1', 'manual_seed: got -1, expected an integer >= 0'),
    ('dsn', 'ema_decay: 0.99', 'ema_decay: 1', 'train: ema_decay: got 1, expected a number >= 0 and < 1'),
    ('dsn', 'ema_decay: 0.99', 'precision: half', "got 'half', expected one of fp32, tf32, bf16, fp16"),
    ('dsn', 'ema_decay: 0.99', 'compile: fast', "train: compile: got 'fast', expected one of true, false, default"),
    ('dsn', 'ema_decay: 0.99', 'accum_iter: 0', 'train: accum_iter: got 0, expected an integer >= 1'),
    ('dsn', 'ema_decay: 0.99', 'grad_clip: 0', 'train: grad_clip: got 0, expected a number > 0 or ~'),
    ('dsn', 'ema_decay: 0.99', 'target: kernels', "train: target: got 'kernels', expected bicubic or kernel"),
    ('dsn', 'num_worker_per_gpu: 1', 'num_worker_per_gpu: -1', 'num_worker_per_gpu: got -1, expected an integer >= 0'),
    ('dsn', 'batch_size_per_gpu: 8', 'batch_size_per_gpu: 0', 'batch_size_per_gpu: got 0, expected an integer >= 1'),
    ('dsn', 'dataset_enlarge_ratio: 2000', 'dataset_enlarge_ratio: 0', 'got 0, expected a number > 0'),
    ('dsn', 'val_freq: 1100', 'val_freq: 0', 'val: val_freq: got 0, expected an integer >= 1'),
    ('dsn', 'print_freq: 100', 'print_freq: 0', 'logger: print_freq: got 0, expected an integer >= 1'),
    ('dsn', 'use_rot: true', 'on_bad_image: ignore', "on_bad_image: got 'ignore', expected stop or skip"),
    ('dsn', 'use_rot: true', 'epoch_over: hq', "epoch_over: got 'hq', expected lq or gt"),
    ('dsn', 'better: lower', 'better: least', "better: got 'least', expected lower"),
    ('dsn', 'name: demo_dsn', 'name: a/b', "name: got 'a/b', expected text"),
    ('dsn', 'type: disk', 'type: memcached', "io_backend: type: got 'memcached', expected disk or lmdb"),
    ('dsn', 'type: Adam', 'type: AdamW', "train: optim_g: type: got 'AdamW'"),
]
MISSING = [
    ('dsn', 'scale: 4\nnum', 'num', 'missing scale', '# yaml-language-server'),
    ('dsn', '  total_iter: 1100\n', '', 'missing train: total_iter', 'train:'),
    ('dsn', '    gt_size: 64\n', '', 'missing datasets: train: gt_size', 'train:'),
    ('dsn', '    dataroot_lq: datasets/demo/camera\n', '', 'missing datasets: train: dataroot_lq', 'train:'),
    ('dsn', '  val_freq: 1100\n', '', 'missing val: val_freq', 'val:'),
    ('dsn', '    milestones: [900]\n', '', 'missing train: scheduler: milestones', 'scheduler:'),
    ('dsn', '    io_backend:\n      type: disk\n', '', 'missing datasets: val: io_backend', 'val:'),
    ('dsn', '  type: UNetDiscriminatorSN_basicsr\n', '', 'missing network_d: type', 'network_d:'),
    ('test', '  save_img: ', '  pbar: true #', 'missing val: save_img', 'val:'),
    ('test', '  pretrain_network_g: ', '  strict_load_g: true #', 'missing path: pretrain_network_g', 'path:'),
]
COMBINATIONS = [
    ('dsn', 'name: demo_validation', 'mean: [0.5, 0.5, 0.5]\n    name: v', 'datasets: val: mean: requires std'),
    ('fly', 'pretrain_network_dsn: ', 'param_key_dsn: params #', 'missing path: pretrain_network_dsn', 'path:'),
    ('fly', 'network_dsn:', 'network_d_s_n:', 'HRImageDataset requires network_dsn', 'type: HRImageDataset'),
    (
        'dsn',
        'high_pass_gain: 16',
        'accum_iter: 2\n  perceptual_opt: {type: UncertaintyPerceptualLoss, criterion: fro}',
        'train: perceptual_opt: criterion: got fro, expected a mean over images for accum_iter > 1',
        'perceptual_opt:',
    ),
    (
        'dsn',
        'network_d:\n  type: UNetDiscriminatorSN_basicsr\n  num_in_ch: 3\n  num_feat: 32\n',
        '',
        'train: optim_d: requires network_d',
        'optim_d:',
    ),
    (
        'dsn',
        '  gan_opt:\n    type: GANLoss\n    gan_type: vanilla\n    loss_weight: 1\n',
        '',
        'missing train: gan_opt',
        'train:',
    ),
    ('dsn', 'high_pass_gain: 16', 'target: kernel', 'missing train: kernels', 'train:'),
    ('dsn', 'high_pass_gain: 16', 'kernels: folder', 'train: kernels: requires target: kernel'),
    (
        'dsn',
        'residual: true',
        'residual: true\n  kernel_size: 33',
        'train: kernels: got nothing, expected the kernel of a measured camera for network_g: kernel_size',
        'train:',
    ),
    (
        'dsn',
        'num_worker_per_gpu: 1',
        'num_worker_per_gpu: 0',
        'persistent_workers: true requires num_worker_per_gpu >= 1',
        'persistent_workers: true',
    ),
    ('dsn', 'use_rot: true', 'prefetch_mode: cuda', 'prefetch_mode: cuda requires pin_memory: true'),
    (
        'dsn',
        'high_pass_gain: 16',
        'accum_iter: 2\n  compile: max-autotune',
        'train: compile: CUDA graphs overwrite',
        'compile:',
    ),
    (
        'dsn',
        'use_rot: true',
        'io_backend: {type: lmdb}',
        'io_backend: type: lmdb contradicts dataroot_gt, which is a folder',
    ),
    (
        'srn',
        '    type: L1Loss\n',
        '    type: L1Loss\n    reduction: sum\n  accum_iter: 2\n',
        'reduction: got sum',
        'reduction:',
    ),
    (
        'srn',
        '  pixel_opt:\n    type: L1Loss\n',
        '',
        'train: pixel_opt: got none, expected this or perceptual_opt',
        'train:',
    ),
    ('fly', 'type: HRImageDataset', 'type: PairedImageDataset', 'expected HRImageDataset with network_dsn'),
]
OTHER_STAGE = [
    ('dsn', 'type: GANLoss', 'type: L1Loss', 'train: gan_opt: type: L1Loss is not supported as gan_opt'),
    ('srn', 'type: L1Loss', 'type: GANLoss', 'train: pixel_opt: type: GANLoss is not supported in stage 2'),
    ('dsn', 'type: UNetDiscriminatorSN_basicsr', 'type: SpyNet', 'SpyNet is not supported as network_d'),
    ('dsn', 'manual_seed: 0', 'network_dsn: ~', 'unknown key network_dsn: supported in a training of stage 2 only'),
    (
        'dsn',
        'pretrain_network_g: ~',
        'pretrain_network_dsn: ~',
        'pretrain_network_dsn: supported in a training of stage 2',
    ),
    ('srn', 'type: UncertaintyPairedDataset', 'type: UnpairedImageDataset', 'not supported for training in stage 2'),
    (
        'dsn',
        'type: PairedImageDataset',
        'type: SingleImageDataset',
        'SingleImageDataset is not supported for validation',
    ),
    (
        'dsn',
        '    io_backend:\n',
        '    on_bad_image: skip\n    io_backend:\n',
        'unknown key datasets: val: on_bad_image',
    ),
    ('dsn', 'high_pass_gain: 16', 'low_frequency_opt: ~', 'low_frequency_opt: supported in a training of stage 2 only'),
    ('srn', 'ema_decay: 0.99', 'high_pass_gain: 4', 'high_pass_gain: supported in a training of stage 1 only'),
    ('srn', 'type: L1Loss', 'type: LaplaceKLLoss', 'pixel_opt: type: LaplaceKLLoss is not supported in stage 2'),
    ('dsn', 'type: LaplaceKLLoss', 'type: L1Loss', 'pixel_opt: type: L1Loss is not supported in stage 1'),
    ('dsn', '  type: UncertaintyDSN', '  type: RRDBNet', 'network_g: type: RRDBNet is not supported in stage 1'),
    ('srn', 'type: IdentitySRVGGNetCompact', 'type: UncertaintyDSN', 'UncertaintyDSN is not supported in stage 2'),
    (
        'dsn',
        'type: UnpairedImageDataset',
        'type: HRImageDataset',
        'HRImageDataset is not supported for training in stage 1',
    ),
    ('srn', 'type: calculate_psnr', 'type: calculate_laplace_nll', 'calculate_laplace_nll is not supported in stage 2'),
    ('test', 'val:\n  ', 'logger: {}\nval:\n  ', 'unknown key logger: supported in a training of stage 1 and'),
]
# JSON Schema cannot express these
BETWEEN_VALUES = [
    (
        'srn',
        'total_iter: 1000',
        'total_iter: 1002',
        'train: scheduler: periods: got a sum of 1000, expected at least total_iter 1002',
        'periods: [1000]',
    ),
    ('track2', 'gt_size: 256', 'gt_size: 60', 'gt_size: got 60, expected a multiple of the scale 4 that is >= 64'),
    ('dsn', 'gt_size: 64', 'gt_size: 66', 'gt_size: got 66, expected a multiple of the scale 4 that is >= 4'),
    ('dsn', 'high_pass_gain: 16', 'accum_iter: 3', 'accum_iter: got 3, expected a divisor of batch_size_per_gpu 8'),
    (
        'dsn',
        'manual_seed: 0',
        'manual_seed: 0\nscale: 4',
        'scale occurs twice, first in line 5. Remove one of them',
        'scale: 4',
    ),
    ('dsn', 'total_iter: 1100', 'total_iter: 1100\n  total_iter: 5', 'train: total_iter occurs twice', 'total_iter: 5'),
]
MISSING_FILES = [
    ('dataroot_gt: datasets/demo/HR', 'dataroot_gt: none', "train: dataroot_gt: folder 'none' does not exist"),
    (
        'dataroot_gt: datasets/demo/HR',
        'dataroot_gt: none.lmdb',
        "train: dataroot_gt: folder 'none.lmdb' does not exist",
    ),
    ('dataroot_lq: datasets/demo/camera', 'dataroot_lq: none', "train: dataroot_lq: folder 'none' does not exist"),
    ('use_rot: true', 'meta_info_file: none.txt', "train: meta_info_file: meta info 'none.txt' does not exist"),
    ('pretrain_network_g: ~', 'pretrain_network_g: none.pth', "network_g: checkpoint 'none.pth' does not exist"),
    ('resume_state: ~', 'resume_state: none.state', "resume_state: training state 'none.state' does not exist"),
    ('high_pass_gain: 16', 'kernels: none\n  target: kernel', "train: kernels: folder 'none' does not exist"),
]
IN_SCHEMA = [*TYPOS, *TYPES, *RANGES, *MISSING, *COMBINATIONS, *OTHER_STAGE]


def row_id(row: tuple | str) -> str:
    return row[3] if isinstance(row, tuple) else row


def wrong(folder: Path, base: str, old: str, new: str):
    text = BASES[base].read_text()
    assert old in text, old
    path = folder / 'wrong.yml'
    path.write_text(text.replace(old, new, 1))
    return read_options_file(str(path))


@pytest.mark.parametrize('row', [*IN_SCHEMA, *BETWEEN_VALUES], ids=row_id)
def test_message_and_line(tmp_path: Path, row: tuple):
    base, old, new, message, *at = row
    file = wrong(tmp_path, base, old, new)
    (problem,) = [each for each in check_options(file, base != 'test') if message in each.text]
    assert problem.location.source == file.path
    line = Path(file.path).read_text().splitlines()[problem.location.line - 1]
    assert line.strip().startswith(at[0] if at else new.strip().splitlines()[0])


@pytest.mark.parametrize(('old', 'new', 'message'), MISSING_FILES, ids=row_id)
def test_missing_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, old: str, new: str, message: str):
    monkeypatch.chdir(tmp_path)
    for folder in ('HR', 'camera', 'validation/HR', 'validation/camera'):
        (tmp_path / 'datasets' / 'demo' / folder).mkdir(parents=True)
    file = wrong(tmp_path, 'dsn', old, new)
    (problem,) = check_options(file, is_train=True, check_paths=True)
    assert message in problem.text
    assert new.splitlines()[0] in Path(file.path).read_text().splitlines()[problem.location.line - 1]
    assert not check_options(file, is_train=True)


def test_all_problems_at_once_in_the_order_of_lines(tmp_path: Path):
    path = tmp_path / 'wrong.yml'
    text = BASES['dsn'].read_text()
    rows = [
        ('manual_seed: 0', 'manual_seed: -1', 'manual_seed: got -1'),
        ('use_hflip: true', 'use_flip: true', 'unknown key datasets: train: use_flip'),
        ('gt_size: 64', 'gt_size: 66', 'datasets: train: gt_size: got 66'),
        ('num_block: 3', 'num_block: three', "network_g: num_block: got 'three'"),
        ('high_pass_gain: 16', 'high_pass_gain: -1\n  high_pass_gain: -2', 'train: high_pass_gain'),
        ('type: LaplaceKLLoss', 'type: L1Loss', 'train: pixel_opt: type: L1Loss is not supported in stage 1'),
        ('val_freq: 1100', 'val_freq: 0', 'val: val_freq: got 0'),
    ]
    for old, new, _ in rows:
        assert old in text
        text = text.replace(old, new, 1)
    path.write_text(text)
    forced = ['logger:print_freq=none']
    with pytest.raises(InputError) as caught:
        file = read_options_file(str(path), forced)
        raise_problems(file, check_options(file, is_train=True))
    title, *lines = str(caught.value).splitlines()
    assert title == f"9 problems in options file '{path}'"
    assert lines[0] == '--force_yml logger:print_freq=none: logger: print_freq: got ~, expected an integer >= 1'
    numbers = [int(line.removeprefix(f'{path}:').partition(':')[0]) for line in lines[1:]]
    assert numbers == sorted(numbers)
    messages = [row[2] for row in rows]
    messages.insert(5, messages[4])  # both the duplicate and the value
    for line in lines[1:]:
        assert any(message in line for message in messages)
    for message in messages:
        assert any(message in line for line in lines)


@pytest.fixture(scope='module')
def validator() -> jsonschema.Draft7Validator:
    return jsonschema.Draft7Validator(json_schema())


@pytest.mark.parametrize('row', IN_SCHEMA, ids=row_id)
def test_json_schema_rejects(validator, tmp_path: Path, row: tuple):
    assert not validator.is_valid(wrong(tmp_path, *row[:3]).options)


@pytest.mark.parametrize('path', sorted(OPTIONS.rglob('*.yml')), ids=lambda path: f'{path.parent.name}/{path.stem}')
def test_json_schema_accepts_recipe(validator, path: Path):
    validator.validate(read_options_file(str(path)).options)
