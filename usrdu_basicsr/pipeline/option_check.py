"""Find what is wrong in an options file before anything is built: unknown keys and types, missing parts."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from basicsr.models import lr_scheduler
from basicsr.utils.registry import ARCH_REGISTRY, DATASET_REGISTRY, LOSS_REGISTRY, METRIC_REGISTRY, Registry

from usrdu_basicsr.errors import InputError

NETWORKS = ('g', 'd', 'dsn')

# Keys that the launchers add are known too: options are checked after BasicSR has completed them.
TOP = {
    *('name', 'model_type', 'scale', 'num_gpu', 'manual_seed', 'datasets', 'path', 'train', 'val', 'logger'),
    *('dist_params', 'find_unused_parameters', 'dist', 'rank', 'world_size', 'auto_resume', 'is_train', 'root_path'),
    *(f'network_{net}' for net in NETWORKS),
}
PATH = {
    *(f'{key}_{net}' for net in NETWORKS for key in ('pretrain_network', 'param_key', 'strict_load')),
    *('resume_state', 'ignore_resume_networks', 'pretrain_network'),
    *('experiments_root', 'results_root', 'models', 'training_states', 'log', 'visualization'),
}
TRAIN = {
    *('ema_decay', 'optim_g', 'optim_d', 'scheduler', 'total_iter', 'warmup_iter'),
    *('pixel_opt', 'perceptual_opt', 'gan_opt', 'low_frequency_opt', 'high_pass_gain'),
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


class OptionCheck:
    """Collects every problem of an options file, so that one run tells all of them."""

    def __init__(self) -> None:
        self.problems: list[str] = []

    def keys(self, section: Mapping[str, Any], known: Iterable[str], where: str) -> None:
        """Note each key of `section` that is not `known`."""
        known = set(known)
        for key in section:
            if key not in known:
                self.problems.append(f'unknown key {where}{key}{_suggestion(key, known)}')

    def needs(self, section: Mapping[str, Any], required: Iterable[str], where: str) -> None:
        """Note each key that `section` lacks."""
        self.problems += [f'missing {where}{key}' for key in required if section.get(key) is None]

    def section(self, opt: Mapping[str, Any], key: str, where: str = '') -> Mapping[str, Any]:
        """`opt[key]`, or nothing where it is missing or not a mapping (which is noted)."""
        value = opt.get(key)
        if value is None:
            return {}
        if not isinstance(value, Mapping):
            self.problems.append(f'{where}{key} is {value!r}, expected a mapping')
            return {}
        return value

    def choice(self, section: Mapping[str, Any], registry: Registry, where: str) -> Any | None:
        """What `section: type` names in `registry`, or None if it names nothing (which is noted)."""
        name = section.get('type')
        # BasicSR finds its own classes without their suffix as well.
        for candidate in (name, f'{name}_basicsr'):
            if candidate in registry:
                return registry.get(candidate)
        if name is None:
            self.problems.append(f'missing {where}type')
        else:
            self.problems.append(f'{where}type: no {name!r}{_suggestion(str(name), registry.keys())}')
        return None

    def call(self, section: Mapping[str, Any], function: Callable, where: str, given: Iterable[str] = ()) -> None:
        """Note the keys of `section` that `function` does not take, and those it needs and `section` lacks."""
        given = {'type', *given}
        parameters = inspect.signature(function).parameters.values()
        named = [p for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY) and p.name not in given]
        self.keys(section, given | {p.name for p in named}, where)
        self.needs(section, [p.name for p in named if p.default is p.empty], where)


def _suggestion(word: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(word, sorted(known), n=1, cutoff=0.5)
    return f': did you mean {close[0]!r}?' if close else f': expected one of {", ".join(sorted(known))}'


def check_options(opt: Mapping[str, Any]) -> None:
    """Refuse options of our models that BasicSR would silently ignore or fail on later.

    Args:
        opt: As BasicSR's `parse_options` returns them; left as they are.

    Raises:
        InputError: Lists every problem, each with the nearest known name.
    """
    check = OptionCheck()
    check.keys(opt, TOP, '')
    check.needs(opt, ['scale', 'network_g', 'datasets'], '')
    check.keys(check.section(opt, 'path'), PATH, 'path: ')
    for net in NETWORKS:
        network = check.section(opt, f'network_{net}')
        where = f'network_{net}: '
        if network and (arch := check.choice(network, ARCH_REGISTRY, where)):
            check.call(network, arch, where)
    for phase in check.section(opt, 'datasets'):
        _check_dataset(check, check.section(opt['datasets'], phase, 'datasets: '), f'datasets: {phase}: ')
    _check_val(check, check.section(opt, 'val'))
    if opt['is_train']:
        check.keys(check.section(opt, 'logger'), LOGGER, 'logger: ')
        check.needs(check.section(opt, 'logger'), ['print_freq', 'save_checkpoint_freq', 'use_tb_logger'], 'logger: ')
        check.needs(opt, ['train', 'logger'], '')
        _check_train(check, check.section(opt, 'train'), 'network_d' in opt)
        _check_feature_size(check, opt)
    if opt.get('network_dsn') is not None:
        check.needs(check.section(opt, 'path'), ['pretrain_network_dsn'], 'path: ')
    if check.problems:
        raise InputError(f'options {opt.get("name")!r}: ' + '; '.join(check.problems))


def _check_dataset(check: OptionCheck, dataset: Mapping[str, Any], where: str) -> None:
    kind = check.choice(dataset, DATASET_REGISTRY, where)
    if kind is None:
        return
    known = getattr(kind, 'options', BASICSR_DATASETS.get(dataset['type']))
    if known is not None:
        check.keys(dataset, known | LOADER, where)
        # What BasicSR's own datasets read without a default
        roots = sorted(key for key in known if key.startswith('dataroot'))
        in_training = ['gt_size', 'batch_size_per_gpu', 'num_worker_per_gpu'] if dataset['phase'] == 'train' else []
        check.needs(dataset, ['name', *roots, *in_training], where)
    backend = check.section(dataset, 'io_backend', where).get('type', 'disk')
    if hasattr(kind, 'options') and backend != 'disk':
        check.problems.append(f'{where}io_backend: {dataset["type"]} reads folders (disk), not {backend!r}')


def _check_train(check: OptionCheck, train: Mapping[str, Any], adversarial: bool) -> None:
    check.keys(train, TRAIN, 'train: ')
    check.needs(train, ['optim_g', 'scheduler', 'total_iter', 'pixel_opt'], 'train: ')
    if adversarial:
        check.needs(train, ['optim_d', 'gan_opt'], 'train: ')
    for name in ('pixel_opt', 'perceptual_opt', 'gan_opt', 'low_frequency_opt'):
        loss = check.section(train, name, 'train: ')
        where = f'train: {name}: '
        if loss and (kind := check.choice(loss, LOSS_REGISTRY, where)):
            check.call(loss, kind, where)
    for name in ('optim_g', 'optim_d'):
        if optimizer := check.section(train, name, 'train: '):
            if optimizer.get('type') != 'Adam':  # the only one of BasicSR's BaseModel
                check.problems.append(f'train: {name}: type: got {optimizer.get("type")!r}, expected Adam')
            check.call(optimizer, torch.optim.Adam, f'train: {name}: ', ['params'])
    schedulers = {
        'MultiStepLR': lr_scheduler.MultiStepRestartLR,
        'MultiStepRestartLR': lr_scheduler.MultiStepRestartLR,
        'CosineAnnealingRestartLR': lr_scheduler.CosineAnnealingRestartLR,
    }
    if scheduler := check.section(train, 'scheduler', 'train: '):
        kind = scheduler.get('type')
        if kind in schedulers:
            check.call(scheduler, schedulers[kind], 'train: scheduler: ', ['optimizer'])
        else:
            check.problems.append(f'train: scheduler: type: no {kind!r}{_suggestion(str(kind), schedulers)}')


def _check_feature_size(check: OptionCheck, opt: Mapping[str, Any]) -> None:
    """Perceptual features are made at a 16th of the LR size."""
    gt_size = (opt['datasets'].get('train') or {}).get('gt_size')
    percep = (opt.get('train') or {}).get('perceptual_opt')
    if opt['model_type'] == 'UncertaintyDSNModel' and percep and gt_size and gt_size < 16 * opt.get('scale', 1):
        check.problems.append(
            f'datasets: train: gt_size: {gt_size} is too small for train: perceptual_opt: expected {16 * opt["scale"]}'
            ' (16 * scale) or more'
        )


def _check_val(check: OptionCheck, val: Mapping[str, Any]) -> None:
    check.keys(val, VAL, 'val: ')
    metrics = check.section(val, 'metrics', 'val: ')
    for name in metrics:
        metric = check.section(metrics, name, 'val: metrics: ')
        where = f'val: metrics: {name}: '
        if kind := check.choice(metric, METRIC_REGISTRY, where):
            check.call(metric, kind, where, ['better', 'img', 'img2', 'log_scale'])
