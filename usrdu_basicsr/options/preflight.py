"""Validation of a run before it creates a folder."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from typing import Any

import torch
from basicsr.utils.registry import ARCH_REGISTRY, DATASET_REGISTRY, LOSS_REGISTRY

from usrdu_basicsr.data.bad_image_policy import check_patch_fits
from usrdu_basicsr.data.kernel_set import read_kernel_set
from usrdu_basicsr.inference.load_network import scale_of
from usrdu_basicsr.models.train_settings import TrainSettings
from usrdu_basicsr.options.option_rules import LOSSES, NETWORKS, check_options
from usrdu_basicsr.storage.open_source import PAIRED, open_basicsr_source
from usrdu_basicsr.storage.pairs import check_pairs
from usrdu_basicsr.storage.source import check_all, raise_first
from usrdu_basicsr.utils.checkpoint import check_weights, read_weights, training_states
from usrdu_basicsr.utils.device import training_device
from usrdu_basicsr.utils.errors import InputError, UserError, first_line
from usrdu_basicsr.utils.precision import Precision
from usrdu_basicsr.utils.registry import build_from_options


def check_run(opt: Mapping[str, Any]) -> None:
    """Check the options, images, kernels and checkpoints of a run.

    No logger is created here, because BasicSR sets up its log file only if none exists.

    Args:
        opt: Options from BasicSR's `parse_options`, which are not changed.

    Raises:
        UserError: If the run would fail, or ignore an option.
    """
    check_options(opt)
    if opt['num_gpu'] != 0 and not torch.cuda.is_available():
        raise InputError(f'num_gpu: got {opt["num_gpu"]}, but torch finds no CUDA GPU. Use auto, or 0 for the CPU')
    if opt['is_train']:
        _check_device(opt)
    for phase, dataset in opt['datasets'].items():
        with _error_prefix(f'datasets: {phase}: '):
            _check_dataset(dataset)
    paths = opt['path']
    if opt['is_train'] and resumes(opt):  # reads its own checkpoints, which are checked when one is selected
        paths = paths | {'pretrain_network_g': None, 'pretrain_network_d': None}
    check_networks(opt, paths)
    if opt['is_train']:
        if (kernels := opt['train'].get('kernels')) is not None:
            with _error_prefix('train: kernels: '):
                read_kernel_set(kernels, opt['datasets']['train']['gt_size'])
        for name in LOSSES:
            if opt['train'].get(name) is not None:
                build_from_options(LOSS_REGISTRY, opt['train'][name], f'train: {name}: ')


@contextmanager
def _error_prefix(where: str) -> Iterator[None]:
    """Add the option that the block checks to the message of a UserError."""
    try:
        yield
    except UserError as error:
        raise type(error)(f'{where}{error}') from error


def resumes(opt: Mapping[str, Any]) -> bool:
    """Whether the options resume a training."""
    if opt['auto_resume']:
        return bool(training_states(opt['path']['training_states']))
    return bool(opt['path'].get('resume_state'))


def _check_device(opt: Mapping[str, Any]) -> None:
    """Check precision and compilation on the training device."""
    settings, device = TrainSettings.from_options(opt['train']), training_device(opt)
    with _error_prefix('train: '):
        Precision(settings.precision, device)
    # Threads of BasicSR's DataParallel autocast to fp16, and its replicas run the first GPU's compiled network.
    if opt['num_gpu'] > 1 and not opt['dist'] and (settings.precision == 'bf16' or settings.compile_mode is not None):
        torchrun = f'torchrun --nproc_per_node={opt["num_gpu"]} and --launcher pytorch'
        raise InputError(
            f'train: precision: bf16 and train: compile need one process per GPU. Use {torchrun}, or num_gpu: 1'
        )
    if settings.compile_mode is not None:
        try:
            torch.compile(torch.neg)(torch.ones(1, device=device))
        except RuntimeError as error:  # base class of the compiler errors
            reason = first_line(error)
            raise InputError(
                f'train: compile: torch.compile fails on {device.type} ({reason}). Install a C++ compiler, and Triton'
                ' for a GPU, or use compile: false'
            ) from error


def _check_dataset(dataset: Mapping[str, Any]) -> None:
    dataset_class = DATASET_REGISTRY.get(dataset['type'])
    if hasattr(dataset_class, 'options'):  # a dataset of this package checks its images when it is built
        dataset_class(deepcopy(dataset))
    elif dataset['type'] == PAIRED:
        _check_pairs(dataset)
    else:
        source = open_basicsr_source(dataset, 'dataroot_lq')
        check_all(len(source), source.size)


def _check_pairs(dataset: Mapping[str, Any]) -> None:
    gt, lq = (open_basicsr_source(dataset, option) for option in ('dataroot_gt', 'dataroot_lq'))
    sizes = ([source.size(index) for index in range(len(source))] for source in (gt, lq))
    problems, _ = check_pairs(dataset, gt, lq, *sizes)
    raise_first(list(map(InputError, problems)))
    if dataset['phase'] == 'train':
        check_all(
            len(gt), lambda index: check_patch_fits(gt.size(index), dataset['gt_size'], 'gt_size', gt.name(index))
        )


def check_networks(opt: Mapping[str, Any], paths: Mapping[str, Any]) -> None:
    """Build the networks and check their scale and checkpoints.

    Args:
        opt: Options.
        paths: Section to use instead of `opt['path']`.

    Raises:
        UserError: If a network cannot be built, has another scale, or does not fit its checkpoint.
    """
    for net in NETWORKS:
        if (settings := opt.get(f'network_{net}')) is None:
            continue
        network = build_from_options(ARCH_REGISTRY, settings, f'network_{net}: ')
        scale, expected = scale_of(network), opt['scale']
        if scale not in (None, expected):
            raise InputError(
                f'network_{net}: got {settings["type"]} of scale {scale}, expected scale {expected} of the options'
            )
        if (path := paths.get(f'pretrain_network_{net}')) is not None:
            key = paths.get(f'param_key_{net}', 'params_ema' if net == 'dsn' else 'params')
            weights = read_weights(path, key, network.state_dict())
            if paths.get(f'strict_load_{net}', True):
                check_weights(network, weights, path)
