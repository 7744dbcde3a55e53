"""Rules for the options of both models, except the section `datasets`."""

import inspect
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import torch
from basicsr.models import lr_scheduler
from basicsr.utils.registry import ARCH_REGISTRY, LOSS_REGISTRY, METRIC_REGISTRY

from usrdu_basicsr.models.train_settings import TrainSettings
from usrdu_basicsr.options.dataset_rules import check_datasets
from usrdu_basicsr.options.option_checker import OptionChecker
from usrdu_basicsr.options.reading import STAGE_1
from usrdu_basicsr.utils.errors import InputError

NETWORKS = ('g', 'd', 'dsn')
LOSSES = ('pixel_opt', 'perceptual_opt', 'low_frequency_opt', 'gan_opt')
SCHEDULERS = {
    'MultiStepLR': lr_scheduler.MultiStepRestartLR,
    'MultiStepRestartLR': lr_scheduler.MultiStepRestartLR,
    'CosineAnnealingRestartLR': lr_scheduler.CosineAnnealingRestartLR,
}
TARGETS = ('bicubic', 'kernel')

# These sets include the keys that BasicSR adds to the options, because options are checked afterwards.
TOP_KEYS = {
    *('name', 'model_type', 'scale', 'num_gpu', 'manual_seed', 'datasets', 'path', 'train', 'val', 'logger'),
    *('dist_params', 'find_unused_parameters', 'dist', 'rank', 'world_size', 'auto_resume', 'is_train', 'root_path'),
    *('network_g', 'network_d'),
}
PATH_KEYS = {
    *(f'{key}_{net}' for net in 'gd' for key in ('pretrain_network', 'param_key', 'strict_load')),
    *('resume_state', 'ignore_resume_networks'),
    *('experiments_root', 'results_root', 'models', 'training_states', 'log', 'visualization'),
}
LOGGER_KEYS = {'print_freq', 'save_checkpoint_freq', 'use_tb_logger', 'wandb', 'keep_checkpoints'}
TRAIN_KEYS = {
    *('ema_decay', 'optim_g', 'optim_d', 'scheduler', 'total_iter', 'warmup_iter'),
    *('pixel_opt', 'perceptual_opt', 'gan_opt'),
    *(field.name for field in fields(TrainSettings)),
}
VAL_KEYS = {'val_freq', 'save_img', 'suffix', 'metrics', 'pbar'}
STAGE_1_TRAIN_KEYS = {'high_pass_gain', 'target', 'kernels'}
STAGE_2_TRAIN_KEYS = {'low_frequency_opt'}
STAGE_2_KEYS = {'network_dsn'}
STAGE_2_PATH_KEYS = {'pretrain_network_dsn', 'param_key_dsn'}


def check_options(opt: Mapping[str, Any]) -> None:
    """Refuse options that BasicSR would ignore or that would fail later in the run.

    Args:
        opt: Options of a model of this package, as BasicSR's `parse_options` returns them. They are not modified.

    Raises:
        InputError: If there are problems. The message lists all of them.
    """
    checker = OptionChecker()
    stage_1, is_train = opt['model_type'] == STAGE_1, opt['is_train']
    checker.known_keys(opt, TOP_KEYS if stage_1 else TOP_KEYS | STAGE_2_KEYS, '')
    sections = ['train', 'logger'] if is_train else ['val']
    checker.required_keys(opt, ['scale', 'network_g', 'datasets', *sections], '')
    path = checker.section(opt, 'path')
    checker.known_keys(path, PATH_KEYS if stage_1 else PATH_KEYS | STAGE_2_PATH_KEYS, 'path: ')
    if opt.get('network_dsn') is not None:
        checker.required_keys(path, ['pretrain_network_dsn'], 'path: ')
    for net in NETWORKS:
        _check_network(checker, opt, net)
    check_datasets(checker, opt)
    if val := checker.section(opt, 'val'):
        _check_val(checker, val, stage_1, is_train)
    if is_train:
        _check_logger(checker, checker.section(opt, 'logger'))
        train = checker.section(opt, 'train')
        train_dataset = checker.section(checker.section(opt, 'datasets'), 'train')
        adversarial = opt.get('network_d') is not None
        _check_train(checker, train, stage_1, adversarial, train_dataset.get('batch_size_per_gpu'))
        if train.get('target') == 'kernel':  # the size of the kernels is compared with it
            checker.required_keys(train_dataset, ['gt_size'], 'datasets: train: ')
    if checker.problems:
        raise InputError(f'options {opt.get("name")!r}: ' + '; '.join(checker.problems))


def _check_network(checker: OptionChecker, opt: Mapping[str, Any], net: str) -> None:
    network, where = checker.section(opt, f'network_{net}'), f'network_{net}: '
    if network and (arch := checker.registered(network, ARCH_REGISTRY, where)):
        checker.arguments(network, arch, where)
        is_dsn = 'with_features' in inspect.signature(arch.forward).parameters
        if net != 'd' and is_dsn != (opt['model_type'] == STAGE_1 or net == 'dsn'):
            checker.problems.append(f'{where}type: {network["type"]} is not supported by {opt["model_type"]}')
    checker.numbers(network, where)


def _check_logger(checker: OptionChecker, logger: Mapping[str, Any]) -> None:
    checker.known_keys(logger, LOGGER_KEYS, 'logger: ')
    checker.required_keys(logger, ['print_freq', 'save_checkpoint_freq', 'use_tb_logger'], 'logger: ')
    keep = logger.get('keep_checkpoints')
    if keep is not None and (not isinstance(keep, int) or isinstance(keep, bool) or keep < 1):
        checker.problems.append(f'logger: keep_checkpoints: got {keep!r}, expected an integer >= 1')


def _check_val(checker: OptionChecker, val: Mapping[str, Any], stage_1: bool, is_train: bool) -> None:
    checker.known_keys(val, VAL_KEYS, 'val: ')
    checker.numbers(val, 'val: ')
    checker.required_keys(val, ['save_img', *(['val_freq'] if is_train else [])], 'val: ')
    if not is_train and 'suffix' not in val:
        checker.problems.append('missing val: suffix. Use ~ for no suffix')
    metrics = checker.section(val, 'metrics', 'val: ')
    for name in metrics:
        metric, where = checker.section(metrics, name, 'val: metrics: '), f'val: metrics: {name}: '
        if function := checker.registered(metric, METRIC_REGISTRY, where):
            checker.arguments(metric, function, where, ['better', 'img', 'img2', 'log_scale'])
            if not stage_1 and 'log_scale' in inspect.signature(function).parameters:
                checker.problems.append(f'{where}type: {metric["type"]} is supported in stage 1 only')


def _check_train(
    checker: OptionChecker, train: Mapping[str, Any], stage_1: bool, adversarial: bool, batch_size: object
) -> None:
    checker.known_keys(train, TRAIN_KEYS | (STAGE_1_TRAIN_KEYS if stage_1 else STAGE_2_TRAIN_KEYS), 'train: ')
    checker.numbers(train, 'train: ')
    checker.required_keys(train, ['optim_g', 'scheduler', 'total_iter', *(['pixel_opt'] if stage_1 else [])], 'train: ')
    settings = TrainSettings.from_options(train)
    checker.problems += [f'train: {problem}' for problem in settings.problems(batch_size)]
    if stage_1:
        _check_target(checker, train)
    if not train.get('pixel_opt') and not train.get('perceptual_opt'):
        checker.problems.append('missing train: pixel_opt or perceptual_opt')
    if adversarial:
        checker.required_keys(train, ['optim_d', 'gan_opt'], 'train: ')
    elif train.get('gan_opt') or train.get('optim_d'):
        checker.problems.append('train: gan_opt and optim_d require network_d')
    for name in LOSSES:
        _check_loss(checker, train, name, stage_1, settings.accum_iter)
    for name in ('optim_g', 'optim_d'):
        if optimizer := checker.section(train, name, 'train: '):
            if optimizer.get('type') != 'Adam':  # the only optimizer that BasicSR's BaseModel supports
                checker.problems.append(f'train: {name}: type: got {optimizer.get("type")!r}, expected Adam')
            checker.arguments(optimizer, torch.optim.Adam, f'train: {name}: ', ['params'])
    scheduler = checker.section(train, 'scheduler', 'train: ')
    if scheduler and (scheduler_class := checker.registered(scheduler, SCHEDULERS, 'train: scheduler: ')):
        checker.arguments(scheduler, scheduler_class, 'train: scheduler: ', ['optimizer'])


def _check_target(checker: OptionChecker, train: Mapping[str, Any]) -> None:
    target = train.get('target', TARGETS[0])
    if target not in TARGETS:
        checker.problems.append(f'train: target: got {target!r}, expected {" or ".join(TARGETS)}')
    if target == 'kernel':
        checker.required_keys(train, ['kernels'], 'train: ')
        if not isinstance(train.get('kernels', ''), str):
            checker.problems.append(f'train: kernels: got {train["kernels"]!r}, expected a folder')
    elif train.get('kernels') is not None:
        checker.problems.append('train: kernels requires train: target: kernel')


def _check_loss(checker: OptionChecker, train: Mapping[str, Any], name: str, stage_1: bool, accum_iter: int) -> None:
    loss, where = checker.section(train, name, 'train: '), f'train: {name}: '
    if not loss or (loss_class := checker.registered(loss, LOSS_REGISTRY, where)) is None:
        return
    checker.arguments(loss, loss_class, where)
    if accum_iter != 1 and (loss.get('reduction') == 'sum' or loss.get('criterion') == 'fro'):
        checker.problems.append(
            f'{where}got a loss that is not a mean over images, expected a mean for train: accum_iter'
        )
    takes_scale = any('log_scale' in parameter for parameter in inspect.signature(loss_class.forward).parameters)
    if takes_scale != (stage_1 and name != 'gan_opt'):
        checker.problems.append(f'{where}type: {loss["type"]} is not supported in stage {1 if stage_1 else 2}')
