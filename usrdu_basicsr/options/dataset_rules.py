"""Rules for the section `datasets` of both models."""

from collections.abc import Mapping
from typing import Any

from basicsr.utils.registry import DATASET_REGISTRY

from usrdu_basicsr.options.option_checker import OptionChecker
from usrdu_basicsr.options.reading import STAGE_1, STAGE_2
from usrdu_basicsr.storage.open_source import LMDB_SUFFIX

LOADER_KEYS = {
    *('name', 'type', 'phase', 'scale', 'dataset_enlarge_ratio', 'num_worker_per_gpu', 'batch_size_per_gpu'),
    *('prefetch_mode', 'num_prefetch_queue', 'pin_memory', 'persistent_workers'),
}
BASICSR_DATASET_KEYS = {
    'PairedImageDataset': {
        *('dataroot_gt', 'dataroot_lq', 'meta_info_file', 'io_backend', 'filename_tmpl', 'gt_size', 'use_hflip'),
        *('use_rot', 'color', 'mean', 'std'),
    },
    'SingleImageDataset': {'dataroot_lq', 'meta_info_file', 'io_backend', 'color', 'mean', 'std'},
}
# Supported dataset types by model and phase. Other types are the user's own and are not checked.
DATASET_TYPES = {
    (STAGE_1, 'train'): {'UnpairedImageDataset', 'PairedImageDataset'},
    (STAGE_1, 'val'): {'HRImageDataset', 'PairedImageDataset'},
    (STAGE_2, 'train'): {'UncertaintyPairedDataset', 'PairedImageDataset'},
    (STAGE_2, 'train with network_dsn'): {'HRImageDataset'},
    (STAGE_2, 'val'): {'PairedImageDataset', 'SingleImageDataset'},
}


def check_datasets(checker: OptionChecker, opt: Mapping[str, Any]) -> None:
    """Report the problems of `datasets`."""
    datasets = checker.section(opt, 'datasets')
    expected = 'train' if opt['is_train'] else 'test'
    if not any(name.split('_')[0] == expected for name in datasets):
        checker.problems.append(f'missing datasets: {expected}')
    for name in datasets:
        where = f'datasets: {name}: '
        dataset = checker.section(datasets, name, 'datasets: ')
        phase = name.split('_')[0]
        if phase not in ('train', 'val', 'test'):
            checker.problems.append(f'unknown key datasets: {name}: expected train, val, val_2, ... or test_1, ...')
            continue
        check_dataset_options(checker, dataset, phase, where)
        use = 'train' if phase == 'train' else 'val'
        if use == 'train' and opt['model_type'] == STAGE_2 and opt.get('network_dsn') is not None:
            use = 'train with network_dsn'
        supported = DATASET_TYPES[opt['model_type'], use]
        if dataset.get('type') in set().union(*DATASET_TYPES.values()) - supported:
            checker.problems.append(
                f'{where}type: {opt["model_type"]} does not {use.replace("val", "validate")} on {dataset["type"]}:'
                f' expected one of {", ".join(sorted(supported))}'
            )
    _check_gt_size(checker, opt, datasets)


def check_dataset_options(checker: OptionChecker, dataset: Mapping[str, Any], phase: str, where: str) -> None:
    """Report the problems of one section of `datasets`."""
    checker.numbers(dataset, where)
    dataset_class = checker.registered(dataset, DATASET_REGISTRY, where)
    if dataset_class is None:
        return
    training = phase == 'train'
    known = getattr(dataset_class, 'options', BASICSR_DATASET_KEYS.get(dataset['type']))
    if known is not None:
        checker.known_keys(dataset, known | LOADER_KEYS, where)
        roots = sorted(key for key in known if key.startswith('dataroot'))
        loader = ['gt_size', 'batch_size_per_gpu', 'num_worker_per_gpu'] if training else []
        checker.required_keys(dataset, ['name', *roots, *loader], where)
    if dataset['type'] in BASICSR_DATASET_KEYS:
        checker.required_keys(dataset, ['io_backend', *(['use_hflip', 'use_rot'] if training else [])], where)
    if dataset.get('persistent_workers') and not (training and dataset.get('num_worker_per_gpu')):
        checker.problems.append(f'{where}persistent_workers: true requires datasets: train: num_worker_per_gpu >= 1')
    if hasattr(dataset_class, 'options'):
        _check_usrdu_dataset(checker, dataset, training, where)


def _check_usrdu_dataset(checker: OptionChecker, dataset: Mapping[str, Any], training: bool, where: str) -> None:
    """Report an `io_backend` that contradicts the file names, and `on_bad_image` outside training."""
    backend = checker.section(dataset, 'io_backend', where).get('type')
    if backend not in (None, 'disk', 'lmdb'):
        checker.problems.append(f'{where}io_backend: type: got {backend!r}, expected disk or lmdb')
    for key, root in dataset.items():
        if key.startswith('dataroot') and backend == ('disk' if str(root).endswith(LMDB_SUFFIX) else 'lmdb'):
            checker.problems.append(
                f'{where}io_backend: type: {backend!r} contradicts {key}: {root!r}. Remove io_backend'
            )
    if not training and 'on_bad_image' in dataset:
        checker.problems.append(
            f'{where}on_bad_image: supported in training only, because metrics over other images are not comparable'
        )


def _check_gt_size(checker: OptionChecker, opt: Mapping[str, Any], datasets: Mapping[str, Any]) -> None:
    """Report patches that are not whole LR pixels, or too small for stage 1's features at 1/16 of the LR size."""
    size, scale = (datasets.get('train') or {}).get('gt_size'), opt.get('scale')
    if not isinstance(size, int) or not isinstance(scale, int):
        return
    perceptual = opt['model_type'] == STAGE_1 and (opt.get('train') or {}).get('perceptual_opt')
    least = 16 * scale if perceptual else scale
    if size % scale or size < least:
        checker.problems.append(
            f'datasets: train: gt_size: got {size}, expected a multiple of {scale} that is >= {least}'
        )
