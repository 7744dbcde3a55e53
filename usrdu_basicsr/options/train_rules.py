"""What the sections `train` and `val` of our two models may and must hold."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import torch
from basicsr.models import lr_scheduler
from basicsr.utils.registry import LOSS_REGISTRY, METRIC_REGISTRY

from usrdu_basicsr.models.train_settings import TrainSettings
from usrdu_basicsr.options.section_check import OptionCheck

LOSSES = ('pixel_opt', 'perceptual_opt', 'low_frequency_opt', 'gan_opt')
TRAIN = {
    *('ema_decay', 'optim_g', 'optim_d', 'scheduler', 'total_iter', 'warmup_iter'),
    *('pixel_opt', 'perceptual_opt', 'gan_opt'),
    *(field.name for field in fields(TrainSettings)),
}
TRAIN_1 = {'high_pass_gain', 'target', 'kernels'}
TRAIN_2 = {'low_frequency_opt'}
TARGETS = ('bicubic', 'kernel')
VAL = {'val_freq', 'save_img', 'suffix', 'metrics', 'pbar'}
SCHEDULERS = {
    'MultiStepLR': lr_scheduler.MultiStepRestartLR,
    'MultiStepRestartLR': lr_scheduler.MultiStepRestartLR,
    'CosineAnnealingRestartLR': lr_scheduler.CosineAnnealingRestartLR,
}


def check_train(
    check: OptionCheck, train: Mapping[str, Any], first_stage: bool, adversarial: bool, batch_size: object
) -> None:
    """Note what is wrong with `train`; `batch_size` is what a process trains on at once, as the options say."""
    check.keys(train, TRAIN | (TRAIN_1 if first_stage else TRAIN_2), 'train: ')
    if first_stage:
        _check_target(check, train)
    check.numbers(train, 'train: ')
    settings = TrainSettings.of(train)
    check.problems += [f'train: {problem}' for problem in settings.problems(batch_size)]
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
            if settings.accum_iter != 1 and (loss.get('reduction') == 'sum' or loss.get('criterion') == 'fro'):
                check.problems.append(f'{where}is no mean over images: train: accum_iter would change the step')
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


def _check_target(check: OptionCheck, train: Mapping[str, Any]) -> None:
    target = train.get('target', TARGETS[0])
    if target not in TARGETS:
        check.problems.append(f'train: target: got {target!r}, expected {" or ".join(TARGETS)}')
    if target == 'kernel':
        check.needs(train, ['kernels'], 'train: ')
        if not isinstance(train.get('kernels', ''), str):
            check.problems.append(f'train: kernels: got {train["kernels"]!r}, expected a folder')
    elif train.get('kernels') is not None:
        check.problems.append('train: kernels needs train: target: kernel')


def check_val(check: OptionCheck, val: Mapping[str, Any], first_stage: bool, is_train: bool) -> None:
    """Note what is wrong with `val`."""
    check.keys(val, VAL, 'val: ')
    check.numbers(val, 'val: ')
    check.needs(val, ['save_img', *(['val_freq'] if is_train else [])], 'val: ')
    if not is_train and 'suffix' not in val:
        check.problems.append('missing val: suffix (~ for none)')
    metrics = check.section(val, 'metrics', 'val: ')
    for name in metrics:
        metric = check.section(metrics, name, 'val: metrics: ')
        where = f'val: metrics: {name}: '
        if kind := check.choice(metric, METRIC_REGISTRY, where):
            check.call(metric, kind, where, ['better', 'img', 'img2', 'log_scale'])
            if not first_stage and 'log_scale' in inspect.signature(kind).parameters:
                check.problems.append(f'{where}type: {metric["type"]} is for stage 1')
