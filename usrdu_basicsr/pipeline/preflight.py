"""Look a run over before it makes a folder or starts to train."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from basicsr.utils.registry import ARCH_REGISTRY, DATASET_REGISTRY

from usrdu_basicsr.checkpoint import check_weights, read_weights
from usrdu_basicsr.errors import InputError
from usrdu_basicsr.images import image_size, list_images
from usrdu_basicsr.pipeline.option_check import NETWORKS, check_options


def check_run(opt: Mapping[str, Any]) -> None:
    """Check options, images and checkpoints of a run of our models.

    It builds no logger: BasicSR sets its log file up only if none exists yet.

    Args:
        opt: As BasicSR's `parse_options` returns them; left as they are.

    Raises:
        UserError: The first thing that would make the run fail, or go on with what the user did not mean.
    """
    check_options(opt)
    for phase, dataset in opt['datasets'].items():
        _check_dataset(dataset, f'datasets: {phase}: ')
    for net in NETWORKS:
        _check_network(opt, net)


def _check_dataset(dataset: Mapping[str, Any], where: str) -> None:
    """Our datasets check themselves when built; BasicSR's are checked for what it would fail on obscurely."""
    try:
        kind = DATASET_REGISTRY.get(dataset['type'])
        if hasattr(kind, 'options'):
            kind(deepcopy(dataset))
        elif (dataset.get('io_backend') or {}).get('type', 'disk') == 'disk':
            for key in ('dataroot_gt', 'dataroot_lq'):
                for path in list_images(dataset[key]) if dataset.get(key) is not None else []:
                    image_size(path)
            if dataset['type'] == 'PairedImageDataset' and not dataset.get('meta_info_file'):
                _check_pairs(dataset)
    except (InputError, FileNotFoundError) as error:
        raise type(error)(f'{where}{error}') from error


def _check_pairs(dataset: Mapping[str, Any]) -> None:
    """Refuse a folder of HR photos and one of LR images that do not match by name."""
    template = dataset.get('filename_tmpl') or '{}'
    expected = {f'{template.format(path.stem)}{path.suffix}' for path in list_images(dataset['dataroot_gt'])}
    found = {path.name for path in list_images(dataset['dataroot_lq'])}
    if odd := sorted(expected ^ found):
        raise InputError(
            f"'{dataset['dataroot_gt']}' and '{dataset['dataroot_lq']}' do not match: {odd[0]!r}"
            f' ({len(odd)} in all) is in one of them only; pairs need equal names'
        )


def _check_network(opt: Mapping[str, Any], net: str) -> None:
    """Build the network and refuse a checkpoint of another one."""
    settings, paths = opt.get(f'network_{net}'), opt['path']
    if settings is None:
        return
    arguments = {key: value for key, value in settings.items() if key != 'type'}
    kind = settings['type'] if settings['type'] in ARCH_REGISTRY else f'{settings["type"]}_basicsr'
    with torch.random.fork_rng(devices=[]):  # the run's own random numbers stay as they are
        network = ARCH_REGISTRY.get(kind)(**arguments)
    scale = getattr(network, 'upscale', getattr(network, 'scale', None))  # as BasicSR's generators call it
    if isinstance(scale, int) and scale != opt['scale']:
        raise InputError(f'network_{net}: {settings["type"]} has scale {scale}, the options say scale: {opt["scale"]}')
    path = paths.get(f'pretrain_network_{net}')
    if path is not None and paths.get(f'strict_load_{net}', True):
        key = paths.get(f'param_key_{net}', 'params_ema' if net == 'dsn' else 'params')
        check_weights(network, read_weights(path, key), Path(path))
