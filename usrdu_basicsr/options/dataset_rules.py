"""What the datasets of our two models may and must hold."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from basicsr.utils.registry import DATASET_REGISTRY

from usrdu_basicsr.options.reading import OUR_MODELS
from usrdu_basicsr.options.section_check import OptionCheck
from usrdu_basicsr.storage.open_source import LMDB_SUFFIX

STAGE_1, STAGE_2 = OUR_MODELS
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


def check_datasets(check: OptionCheck, opt: Mapping[str, Any]) -> None:
    """Note what is wrong with `datasets`."""
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
        check_section(check, dataset, phase, where)
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


def check_section(check: OptionCheck, dataset: Mapping[str, Any], phase: str, where: str) -> None:
    """Note what is wrong with one of `datasets`."""
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
    if dataset.get('persistent_workers') and (phase != 'train' or not dataset.get('num_worker_per_gpu')):
        check.problems.append(f'{where}persistent_workers: true is for training with num_worker_per_gpu of 1 or more')
    if hasattr(kind, 'options'):
        _check_ours(check, dataset, phase, where)


def _check_ours(check: OptionCheck, dataset: Mapping[str, Any], phase: str, where: str) -> None:
    """What our datasets refuse beyond unknown keys; an LMDB is told by its name, `io_backend` may say so too."""
    backend = check.section(dataset, 'io_backend', where).get('type')
    if backend not in (None, 'disk', 'lmdb'):
        check.problems.append(f'{where}io_backend: type: {backend!r}, expected disk or lmdb')
    for key, root in dataset.items():
        if key.startswith('dataroot') and backend == ('disk' if str(root).endswith(LMDB_SUFFIX) else 'lmdb'):
            check.problems.append(f'{where}io_backend: type: {backend!r} does not fit {key}: {root!r}; leave it out')
    if phase != 'train' and 'on_bad_image' in dataset:
        check.problems.append(f'{where}on_bad_image is for training: a metric over other images would not compare')


def _check_gt_size(check: OptionCheck, opt: Mapping[str, Any], datasets: Mapping[str, Any]) -> None:
    """Crops are whole LR pixels, and perceptual features of stage 1 are made at a 16th of the LR size."""
    size, scale = (datasets.get('train') or {}).get('gt_size'), opt.get('scale')
    if not isinstance(size, int) or not isinstance(scale, int):
        return
    least = 16 * scale if opt['model_type'] == STAGE_1 and (opt.get('train') or {}).get('perceptual_opt') else scale
    if size % scale or size < least:
        check.problems.append(f'datasets: train: gt_size: {size}, expected a multiple of {scale} from {least} on')
