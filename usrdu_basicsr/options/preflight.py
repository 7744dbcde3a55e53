"""Look a run over before it makes a folder or starts to train."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from typing import Any

import torch
from basicsr.utils.registry import ARCH_REGISTRY, DATASET_REGISTRY, LOSS_REGISTRY

from usrdu_basicsr.data.kernel_set import read_kernel_set
from usrdu_basicsr.data.transforms import check_crop_fits
from usrdu_basicsr.inference.load_network import scale_of
from usrdu_basicsr.models.train_settings import TrainSettings
from usrdu_basicsr.options.run_rules import NETWORKS, check_options
from usrdu_basicsr.options.train_rules import LOSSES
from usrdu_basicsr.storage.basicsr_sources import list_of, open_basicsr_source, paired_names
from usrdu_basicsr.storage.check_all import check_all
from usrdu_basicsr.utils.checkpoint import check_weights, read_weights, training_states
from usrdu_basicsr.utils.device import device_of
from usrdu_basicsr.utils.errors import InputError, UserError, first_line
from usrdu_basicsr.utils.precision import Precision
from usrdu_basicsr.utils.registry import build


def check_run(opt: Mapping[str, Any]) -> None:
    """Check options, images, kernels and checkpoints of a run of our models.

    It builds no logger: BasicSR sets its log file up only if none exists yet.

    Args:
        opt: As BasicSR's `parse_options` returns them; left as they are.

    Raises:
        UserError: The first thing that would make the run fail, or go on with what the user did not mean.
    """
    check_options(opt)
    if opt['num_gpu'] != 0 and not torch.cuda.is_available():
        raise InputError(f'num_gpu: {opt["num_gpu"]}, but torch can use no CUDA GPU here: write auto, or 0 for the CPU')
    if opt['is_train']:
        _check_device(opt)
    for phase, dataset in opt['datasets'].items():
        _check_dataset(dataset, f'datasets: {phase}: ')
    # A resumed run reads its own checkpoints, which are looked at when one of them is chosen.
    paths = opt['path']
    if opt['is_train'] and resumes(opt):
        paths = {key: value for key, value in paths.items() if key not in ('pretrain_network_g', 'pretrain_network_d')}
    check_networks(opt, paths)
    if opt['is_train']:
        if opt['train'].get('kernels') is not None:
            _check_kernels(opt)
        for name in LOSSES:
            if opt['train'].get(name) is not None:
                build(LOSS_REGISTRY, opt['train'][name], f'train: {name}: ')


def resumes(opt: Mapping[str, Any]) -> bool:
    """Whether a training goes on from a checkpoint, if there is one that it can go on from."""
    if opt['auto_resume']:
        return bool(training_states(opt['path']['training_states']))
    return bool(opt['path'].get('resume_state'))


def _check_device(opt: Mapping[str, Any]) -> None:
    """Refuse what the device of the training cannot do."""
    settings, device = TrainSettings.of(opt['train']), device_of(opt)
    try:
        Precision(settings.precision, device)
    except InputError as error:
        raise InputError(f'train: {error}') from error
    # BasicSR's DataParallel, whose threads compute in fp16 under any autocast, and whose copies run the first one
    if opt['num_gpu'] > 1 and not opt['dist'] and (settings.precision == 'bf16' or settings.compile_mode is not None):
        torchrun = f'torchrun --nproc_per_node={opt["num_gpu"]} and --launcher pytorch'
        raise InputError(f'train: precision: bf16 and compile are for one GPU a process: use {torchrun}, or num_gpu: 1')
    if settings.compile_mode is not None:
        try:
            torch.compile(torch.neg)(torch.ones(1, device=device))
        except RuntimeError as error:  # torch's own compilers' errors are of this kind
            reason = first_line(error)
            raise InputError(
                f'train: compile: torch cannot compile for the {device.type} here ({reason}): it needs a C++ compiler,'
                ' and Triton on a GPU; install them or write false'
            ) from error


def _check_kernels(opt: Mapping[str, Any]) -> None:
    try:
        read_kernel_set(opt['train']['kernels'], opt['datasets']['train']['gt_size'])
    except UserError as error:
        raise type(error)(f'train: kernels: {error}') from error


def _check_dataset(dataset: Mapping[str, Any], where: str) -> None:
    """Our datasets check themselves when built; BasicSR's are checked for what it would fail on obscurely."""
    try:
        kind = DATASET_REGISTRY.get(dataset['type'])
        if hasattr(kind, 'options'):
            kind(deepcopy(dataset))
        elif dataset['type'] == 'PairedImageDataset':
            _check_pairs(dataset)
        else:
            source = open_basicsr_source(dataset, 'dataroot_lq')
            check_all(len(source), source.size)
    except UserError as error:
        raise type(error)(f'{where}{error}') from error


def _check_pairs(dataset: Mapping[str, Any]) -> None:
    """Refuse HR photos and LR images that do not match by name or size."""
    template, scale = dataset.get('filename_tmpl') or '{}', dataset['scale']
    gt, lq = (open_basicsr_source(dataset, option) for option in ('dataroot_gt', 'dataroot_lq'))
    gt_index = {name: index for index, name in enumerate(paired_names(gt, template))}
    lq_index = {name: index for index, name in enumerate(paired_names(lq, '{}'))}
    lone = gt_index.keys() - lq_index.keys() if list_of(dataset) else gt_index.keys() ^ lq_index.keys()
    if odd := sorted(lone):
        raise InputError(
            f"'{gt.root}' and '{lq.root}' do not match: {odd[0]!r} ({len(odd)} in all) is in one of them only; pairs"
            ' need equal names'
        )
    training = dataset['phase'] == 'train'
    for paired_name, index in gt_index.items():
        lq_size, lq_name = lq.size(lq_index[paired_name]), lq.name(lq_index[paired_name])
        expected = tuple(side * scale for side in lq_size)
        size, name = gt.size(index), gt.name(index)
        # BasicSR crops HR photos in validation, and does not in training
        if size != expected if training else (size[0] < expected[0] or size[1] < expected[1]):
            raise InputError(
                f"'{name}' is {size} pixels (height, width), expected {expected}: {scale} times '{lq_name}'"
            )
        if training:
            check_crop_fits(size, dataset['gt_size'], 'gt_size', name)


def check_networks(opt: Mapping[str, Any], paths: Mapping[str, Any]) -> None:
    """Build the networks and refuse checkpoints of others.

    Args:
        opt: The options.
        paths: In place of their section `path`.

    Raises:
        UserError: A network cannot be built, has another scale, or its checkpoint cannot be read or is of another.
    """
    for net in NETWORKS:
        if opt.get(f'network_{net}') is not None:
            _check_network(opt, net, paths)


def _check_network(opt: Mapping[str, Any], net: str, paths: Mapping[str, Any]) -> None:
    settings = opt[f'network_{net}']
    network = build(ARCH_REGISTRY, settings, f'network_{net}: ')
    scale = scale_of(network)
    if scale is not None and scale != opt['scale']:
        raise InputError(f'network_{net}: {settings["type"]} has scale {scale}, the options say scale: {opt["scale"]}')
    path = paths.get(f'pretrain_network_{net}')
    if path is None:
        return
    key = paths.get(f'param_key_{net}', 'params_ema' if net == 'dsn' else 'params')
    weights = read_weights(path, key, network.state_dict())
    if paths.get(f'strict_load_{net}', True):
        check_weights(network, weights, path)
