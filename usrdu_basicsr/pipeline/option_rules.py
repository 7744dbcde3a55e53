"""What the options of our two models may and must hold."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import torch
from basicsr.models import lr_scheduler
from basicsr.utils.registry import ARCH_REGISTRY, DATASET_REGISTRY, LOSS_REGISTRY, METRIC_REGISTRY

from usrdu_basicsr._launch import OUR_MODELS
from usrdu_basicsr.errors import InputError
from usrdu_basicsr.pipeline.option_check import OptionCheck

STAGE_1, STAGE_2 = OUR_MODELS
NETWORKS = ('g', 'd', 'dsn')
LOSSES = ('pixel_opt', 'perceptual_opt', 'low_frequency_opt', 'gan_opt')

# Keys that the launchers add are known too: options are checked after BasicSR has completed them.
TOP = {
    *('name', 'model_type', 'scale', 'num_gpu', 'manual_seed', 'datasets', 'path', 'train', 'val', 'logger'),
    *('dist_params', 'find_unused_parameters', 'dist', 'rank', 'world_size', 'auto_resume', 'is_train', 'root_path'),
    *('network_g', 'network_d'),
}
PATH = {
    *(f'{key}_{net}' for net in 'gd' for key in ('pretrain_network', 'param_key', 'strict_load')),
    *('resume_state', 'ignore_resume_networks'),
    *('experiments_root', 'results_root', 'models', 'training_states', 'log', 'visualization'),
}
TRAIN = {
    *('ema_decay', 'optim_g', 'optim_d', 'scheduler', 'total_iter', 'warmup_iter'),
    *('pixel_opt', 'perceptual_opt', 'gan_opt'),
}
VAL = {'val_freq', 'save_img', 'suffix', 'metrics', 'pbar'}
LOGGER = {'print_freq', 'save_checkpoint_freq', 'use_tb_logger', 'wandb'}
LOADER = {
    *('name', 'type', 'phase', 'scale', 'dataset_enlarge_ratio', 'num_worker_per_gpu', 'batch_size_per_gpu'),
    *('prefetch_mode', 'num_prefetch_queue', 'pin_memory', 'persistent_workers'),
}
BASICSR_DATASETS = {
    'PairedImageDataset': {
        *('dataroot_gt', 'dataroot_lq', 'meta_info_file', 'io_backend', 'filename_tmpl', 'gt_size', 'use_hflip'),
        *('use_rot', 'color', 'mean', 'std'),
    },
    'SingleImageDataset': {'dataroot_lq', 'meta_info_file', 'io_backend', 'color', 'mean', 'std'},
}
# Where a stage takes one of these datasets. Others, of the user's own, are left to the user.
DATASETS = {
    (STAGE_1, 'train'): {'UnpairedImageDataset', 'PairedImageDataset'},
    (STAGE_1, 'val'): {'HRImageDataset', 'PairedImageDataset'},
    (STAGE_2, 'train'): {'UncertaintyPairedDataset', 'PairedImageDataset'},
    (STAGE_2, 'train with network_dsn'): {'HRImageDataset'},
    (STAGE_2, 'val'): {'PairedImageDataset', 'SingleImageDataset'},
}
SCHEDULERS = {
    'MultiStepLR': lr_scheduler.MultiStepRestartLR,
    'MultiStepRestartLR': lr_scheduler.MultiStepRestartLR,
    'CosineAnnealingRestartLR': lr_scheduler.CosineAnnealingRestartLR,
}


def check_options(opt: Mapping[str, Any]) -> None:
    """Refuse options of our models that BasicSR would silently ignore or fail on later.

    Args:
        opt: As BasicSR's `parse_options` returns them; left as they are.

    Raises:
        InputError: Lists every problem, each with the nearest known name.
    """
    check = OptionCheck()
    first_stage, is_train = opt['model_type'] == STAGE_1, opt['is_train']
    dsn_keys = {'network_dsn'} if not first_stage else set()
    check.keys(opt, TOP | dsn_keys, '')
    check.needs(opt, ['scale', 'network_g', 'datasets', *(['train', 'logger'] if is_train else ['val'])], '')
    dsn_paths = set() if first_stage else {'pretrain_network_dsn', 'param_key_dsn'}
    check.keys(check.section(opt, 'path'), PATH | dsn_paths, 'path: ')
    for net in NETWORKS:
        network = check.section(opt, f'network_{net}')
        where = f'network_{net}: '
        if network and (arch := check.choice(network, ARCH_REGISTRY, where)):
            check.call(network, arch, where)
            is_dsn = 'with_features' in inspect.signature(arch.forward).parameters
            if net != 'd' and is_dsn != (first_stage or net == 'dsn'):
                check.problems.append(f'{where}type: {network["type"]} is not for {opt["model_type"]}')
        check.numbers(network, where)
    _check_datasets(check, opt)
    if val := check.section(opt, 'val'):
        _check_val(check, val, first_stage)
        check.needs(val, ['save_img', *(['val_freq'] if is_train else [])], 'val: ')
        if not is_train and 'suffix' not in val:
            check.problems.append('missing val: suffix (~ for none)')
    if is_train:
        check.keys(check.section(opt, 'logger'), LOGGER, 'logger: ')
        check.needs(check.section(opt, 'logger'), ['print_freq', 'save_checkpoint_freq', 'use_tb_logger'], 'logger: ')
        _check_train(check, check.section(opt, 'train'), first_stage, opt.get('network_d') is not None)
    if opt.get('network_dsn') is not None:
        check.needs(check.section(opt, 'path'), ['pretrain_network_dsn'], 'path: ')
    if check.problems:
        raise InputError(f'options {opt.get("name")!r}: ' + '; '.join(check.problems))


def _check_datasets(check: OptionCheck, opt: Mapping[str, Any]) -> None:
    datasets = check.section(opt, 'datasets')
    expected = 'train' if opt['is_train'] else 'test'
    if not any(phase.split('_')[0] == expected for phase in datasets):
        check.problems.append(f'missing datasets: {expected}')
    for name in datasets:
        where = f'datasets: {name}: '
        dataset = check.section(datasets, name, 'datasets: ')
        phase = name.split('_')[0]
        if phase not in ('train', 'val', 'test'):
            check.problems.append(f'datasets: {name}: expected train, val, val_2, ... or test_1, ...')
            continue
        _check_dataset(check, dataset, phase, where)
        role = 'train' if phase == 'train' else 'val'
        if role == 'train' and opt['model_type'] == STAGE_2 and opt.get('network_dsn') is not None:
            role += ' with network_dsn'
        fitting = DATASETS[opt['model_type'], role]
        if dataset.get('type') in set().union(*DATASETS.values()) - fitting:
            check.problems.append(
                f'{where}type: {opt["model_type"]} does not {role.replace("val", "validate")} on {dataset["type"]}:'
                f' expected one of {", ".join(sorted(fitting))}'
            )
    _check_gt_size(check, opt, datasets)


def _check_dataset(check: OptionCheck, dataset: Mapping[str, Any], phase: str, where: str) -> None:
    check.numbers(dataset, where)
    kind = check.choice(dataset, DATASET_REGISTRY, where)
    if kind is None:
        return
    known = getattr(kind, 'options', BASICSR_DATASETS.get(dataset['type']))
    if known is not None:
        check.keys(dataset, known | LOADER, where)
        # What has no default
        roots = sorted(key for key in known if key.startswith('dataroot'))
        training = ['gt_size', 'batch_size_per_gpu', 'num_worker_per_gpu'] if phase == 'train' else []
        check.needs(dataset, ['name', *roots, *training], where)
    if dataset['type'] in BASICSR_DATASETS:
        check.needs(dataset, ['io_backend', *(['use_hflip', 'use_rot'] if phase == 'train' else [])], where)
    backend = check.section(dataset, 'io_backend', where).get('type', 'disk')
    if hasattr(kind, 'options') and backend != 'disk':
        check.problems.append(f'{where}io_backend: {dataset["type"]} reads folders (disk), not {backend!r}')


def _check_gt_size(check: OptionCheck, opt: Mapping[str, Any], datasets: Mapping[str, Any]) -> None:
    """Crops are whole LR pixels, and perceptual features of stage 1 are made at a 16th of the LR size."""
    size, scale = (datasets.get('train') or {}).get('gt_size'), opt.get('scale')
    if not isinstance(size, int) or not isinstance(scale, int):
        return
    least = 16 * scale if opt['model_type'] == STAGE_1 and (opt.get('train') or {}).get('perceptual_opt') else scale
    if size % scale or size < least:
        check.problems.append(f'datasets: train: gt_size: {size}, expected a multiple of {scale} from {least} on')


def _check_train(check: OptionCheck, train: Mapping[str, Any], first_stage: bool, adversarial: bool) -> None:
    check.keys(train, TRAIN | {'high_pass_gain' if first_stage else 'low_frequency_opt'}, 'train: ')
    check.numbers(train, 'train: ')
    check.needs(train, ['optim_g', 'scheduler', 'total_iter', *(['pixel_opt'] if first_stage else [])], 'train: ')
    if not train.get('pixel_opt') and not train.get('perceptual_opt'):
        check.problems.append('train: expected pixel_opt, perceptual_opt or both')
    if adversarial:
        check.needs(train, ['optim_d', 'gan_opt'], 'train: ')
    elif train.get('gan_opt') or train.get('optim_d'):
        check.problems.append('train: gan_opt and optim_d need network_d')
    for name in LOSSES:
        loss = check.section(train, name, 'train: ')
        where = f'train: {name}: '
        if loss and (kind := check.choice(loss, LOSS_REGISTRY, where)):
            check.call(loss, kind, where)
            takes_scale = any('log_scale' in parameter for parameter in inspect.signature(kind.forward).parameters)
            if takes_scale != (first_stage and name != 'gan_opt'):
                check.problems.append(f'{where}type: {loss["type"]} is not for this stage')
    for name in ('optim_g', 'optim_d'):
        if optimizer := check.section(train, name, 'train: '):
            if optimizer.get('type') != 'Adam':  # the only one of BasicSR's BaseModel
                check.problems.append(f'train: {name}: type: got {optimizer.get("type")!r}, expected Adam')
            check.call(optimizer, torch.optim.Adam, f'train: {name}: ', ['params'])
    if scheduler := check.section(train, 'scheduler', 'train: '):
        if scheduler.get('type') in SCHEDULERS:
            check.call(scheduler, SCHEDULERS[scheduler['type']], 'train: scheduler: ', ['optimizer'])
        else:
            check.no_choice(scheduler.get('type'), SCHEDULERS, 'train: scheduler: ')


def _check_val(check: OptionCheck, val: Mapping[str, Any], first_stage: bool) -> None:
    check.keys(val, VAL, 'val: ')
    check.numbers(val, 'val: ')
    metrics = check.section(val, 'metrics', 'val: ')
    for name in metrics:
        metric = check.section(metrics, name, 'val: metrics: ')
        where = f'val: metrics: {name}: '
        if kind := check.choice(metric, METRIC_REGISTRY, where):
            check.call(metric, kind, where, ['better', 'img', 'img2', 'log_scale'])
            if not first_stage and 'log_scale' in inspect.signature(kind).parameters:
                check.problems.append(f'{where}type: {metric["type"]} is for stage 1')
