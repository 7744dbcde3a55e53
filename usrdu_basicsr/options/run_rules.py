"""What the options of our two models may and must hold."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from basicsr.utils.registry import ARCH_REGISTRY

from usrdu_basicsr.options.dataset_rules import STAGE_1, check_datasets
from usrdu_basicsr.options.section_check import OptionCheck
from usrdu_basicsr.options.train_rules import check_train, check_val
from usrdu_basicsr.utils.errors import InputError

NETWORKS = ('g', 'd', 'dsn')

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
LOGGER = {'print_freq', 'save_checkpoint_freq', 'use_tb_logger', 'wandb', 'keep_checkpoints'}


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
    check_datasets(check, opt)
    if val := check.section(opt, 'val'):
        check_val(check, val, first_stage, is_train)
    if is_train:
        check.keys(check.section(opt, 'logger'), LOGGER, 'logger: ')
        check.needs(check.section(opt, 'logger'), ['print_freq', 'save_checkpoint_freq', 'use_tb_logger'], 'logger: ')
        keep = check.section(opt, 'logger').get('keep_checkpoints', 1)
        if keep is not None and (not isinstance(keep, int) or isinstance(keep, bool) or keep < 1):
            check.problems.append(f'logger: keep_checkpoints: got {keep!r}, expected a whole number from 1 on')
        train = check.section(opt, 'train')
        images = check.section(check.section(opt, 'datasets'), 'train')
        check_train(check, train, first_stage, opt.get('network_d') is not None, images.get('batch_size_per_gpu'))
        if train.get('target') == 'kernel':  # kernels are compared with it
            check.needs(images, ['gt_size'], 'datasets: train: ')
    if opt.get('network_dsn') is not None:
        check.needs(check.section(opt, 'path'), ['pretrain_network_dsn'], 'path: ')
    if check.problems:
        raise InputError(f'options {opt.get("name")!r}: ' + '; '.join(check.problems))
