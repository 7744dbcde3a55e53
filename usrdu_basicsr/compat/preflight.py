"""Validation of a run before it creates a folder."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from typing import Any

import numpy as np
import torch
from basicsr.utils.registry import ARCH_REGISTRY, DATASET_REGISTRY, LOSS_REGISTRY

from usrdu_basicsr.data.bad_image_policy import check_patch_fits
from usrdu_basicsr.data.kernel_set import read_kernel_set
from usrdu_basicsr.inference.load_network import scale_of
from usrdu_basicsr.metrics.perceptual_metrics import load_metric
from usrdu_basicsr.models.train_settings import TrainSettings
from usrdu_basicsr.options.reading import STAGE_1, OptionsFile, Problem
from usrdu_basicsr.options.schema.checkpoints import SRNPathOptions, TestPathOptions
from usrdu_basicsr.options.schema.components import OPTIMIZERS, SCHEDULERS
from usrdu_basicsr.options.schema.dataset_options import MarginOptions
from usrdu_basicsr.options.schema.training import LOSSES
from usrdu_basicsr.storage.open_source import PAIRED, SINGLE, open_basicsr_source
from usrdu_basicsr.storage.pairs import check_pairs
from usrdu_basicsr.storage.source import check_all, raise_errors
from usrdu_basicsr.utils.checkpoint import check_weights, read_weights, training_states
from usrdu_basicsr.utils.device import training_device
from usrdu_basicsr.utils.errors import InputError, UserError, first_line
from usrdu_basicsr.utils.precision import Precision
from usrdu_basicsr.utils.registry import build_from_options

NETWORKS = ('g', 'd', 'dsn')
OWN_DATASETS = ('UnpairedImageDataset', 'UncertaintyPairedDataset', 'HRImageDataset')


def check_run(opt: Mapping[str, Any], file: OptionsFile) -> list[Problem]:
    """Find the problems of the images, kernels, checkpoints, networks, losses and metrics of a run.

    Nothing is written, so that a run that would fail leaves no folder.

    No logger is created here, because BasicSR sets up its log file only if none exists.

    Args:
        opt: Options from BasicSR's `parse_options`, which are not changed.
        file: The valid options file that they come from, for the locations of problems.
    """
    problems: list[Problem] = []

    @contextmanager
    def check(*path: str) -> Iterator[None]:
        """Collect the error of an option, instead of raising it."""
        try:
            yield
        except UserError as error:
            text = str(error).removeprefix(f'{path[-1]}: ')
            problems.append(Problem(file.location(path), f'{": ".join(path)}: {text}', path))

    with check('num_gpu'):
        if opt['num_gpu'] != 0 and not torch.cuda.is_available():
            raise InputError(f'got {opt["num_gpu"]}, but torch finds no CUDA GPU. Use auto, or 0 for the CPU')
    for phase, dataset in opt['datasets'].items():
        with check('datasets', phase):
            _check_dataset(dataset)
    paths = opt['path']
    if opt['is_train'] and resumes(opt):  # reads its own checkpoints, which are checked when one is selected
        paths = paths | {'pretrain_network_g': None, 'pretrain_network_d': None}
    networks: dict[str, torch.nn.Module | None] = {}
    for net in NETWORKS:
        with check(f'network_{net}'):
            networks[net] = check_network(opt, net, paths)
    if (dsn := networks.get('dsn')) is not None:
        with check('datasets', 'train', 'margin'):
            _check_margin(dsn, opt)
    if (net_d := networks.get('d')) is not None:
        with check('datasets', 'train', 'gt_size'):
            _check_discriminator(net_d, opt)
    if opt['is_train']:
        train = opt['train']
        with check('train', 'precision'):
            _check_precision(opt)
        with check('train', 'compile'):
            _check_compilation(opt)
        if (kernels := train.get('kernels')) is not None:
            with check('train', 'kernels'):
                kernel_set = read_kernel_set(kernels, opt['datasets']['train']['gt_size'])
                if getattr(generator := networks.get('g'), 'base_kernel', None) is not None:
                    _set_base_kernel(generator, kernel_set)
        for name in LOSSES:
            if train.get(name) is not None:
                with check('train', name):
                    build_from_options(LOSS_REGISTRY, train[name], '')
        for name in ('optim_g', 'optim_d'):
            if train.get(name) is not None:
                with check('train', name):
                    _build_optimizer(train[name])
        with check('train', 'scheduler'):
            optimizer = _build_optimizer({'type': 'Adam'})
            build_from_options(SCHEDULERS, {**train['scheduler'], 'optimizer': optimizer}, '')
    for name, metric in ((opt.get('val') or {}).get('metrics') or {}).items():
        with check('val', 'metrics', name):
            load_metric(metric)
    return sorted(problems)


def resumes(opt: Mapping[str, Any]) -> bool:
    """Whether the options resume a training."""
    if opt['auto_resume']:
        return bool(training_states(opt['path']['training_states']))
    return bool(opt['path'].get('resume_state'))


def _check_precision(opt: Mapping[str, Any]) -> None:
    precision = TrainSettings.from_options(opt['train']).precision
    Precision(precision, training_device(opt))
    if precision == 'bf16' and _uses_data_parallel(opt):
        raise InputError(f'bf16 {_use_torchrun(opt)}')  # threads of DataParallel autocast to fp16


def _check_compilation(opt: Mapping[str, Any]) -> None:
    if TrainSettings.from_options(opt['train']).compile_mode is None:
        return
    if _uses_data_parallel(opt):
        raise InputError(_use_torchrun(opt))  # replicas of DataParallel run the first GPU's compiled network
    device = training_device(opt)
    try:
        torch.compile(torch.neg)(torch.ones(1, device=device))
    except RuntimeError as error:  # base class of the compiler errors
        raise InputError(
            f'torch.compile fails on {device.type} ({first_line(error)}). Install a C++ compiler, and Triton for a GPU,'
            ' or use compile: false'
        ) from error


def _uses_data_parallel(opt: Mapping[str, Any]) -> bool:
    return opt['num_gpu'] > 1 and not opt['dist']


def _use_torchrun(opt: Mapping[str, Any]) -> str:
    torchrun = f'torchrun --nproc_per_node={opt["num_gpu"]} and --launcher pytorch'
    return f'needs one process per GPU. Use {torchrun}, or num_gpu: 1'


def _check_dataset(dataset: Mapping[str, Any]) -> None:
    if dataset['type'] in OWN_DATASETS:  # they check their images when they are built
        DATASET_REGISTRY.get(dataset['type'])(deepcopy(dataset))
    elif dataset['type'] == PAIRED:
        _check_pairs(dataset)
    elif dataset['type'] == SINGLE:
        source = open_basicsr_source(dataset, 'dataroot_lq')
        check_all(len(source), source.size)


def _check_pairs(dataset: Mapping[str, Any]) -> None:
    gt, lq = (open_basicsr_source(dataset, option) for option in ('dataroot_gt', 'dataroot_lq'))
    sizes = ([source.size(index) for index in range(len(source))] for source in (gt, lq))
    problems, _ = check_pairs(dataset, gt, lq, *sizes)
    raise_errors(list(map(InputError, problems)))
    if dataset['phase'] == 'train':
        check_all(
            len(gt), lambda index: check_patch_fits(gt.size(index), dataset['gt_size'], 'gt_size', gt.name(index))
        )


def check_networks(opt: Mapping[str, Any], paths: Mapping[str, Any]) -> None:
    """Check all networks; the arguments and errors are those of `check_network`."""
    for net in NETWORKS:
        check_network(opt, net, paths)


def check_network(opt: Mapping[str, Any], net: str, paths: Mapping[str, Any]) -> torch.nn.Module | None:
    """Build a network and check its scale and checkpoint.

    Args:
        opt: Options.
        net: `g`, `d` or `dsn`.
        paths: Section to use instead of `opt['path']`.

    Returns:
        Network with its initial weights, or None if the options have no such network.

    Raises:
        UserError: If the network cannot be built, has another scale, or does not fit its checkpoint.
    """
    if (settings := opt.get(f'network_{net}')) is None:
        return None
    network = build_from_options(ARCH_REGISTRY, settings, '')
    scale, expected = scale_of(network), opt['scale']
    if scale not in (None, expected):
        raise InputError(f'got {settings["type"]} of scale {scale}, expected scale {expected} of the options')
    given = (SRNPathOptions if opt['is_train'] else TestPathOptions).from_options(paths)
    path, key = (getattr(given, f'{option}_{net}') for option in ('pretrain_network', 'param_key'))
    if path is not None:
        weights = read_weights(path, key, network.state_dict())
        if getattr(given, f'strict_load_{net}', True):  # the DSN has no such option
            check_weights(network, weights, path)
    return network


def _set_base_kernel(dsn: Any, kernels: np.ndarray) -> None:
    try:
        dsn.set_base_kernel(torch.from_numpy(kernels))
    except ValueError as error:
        raise InputError(f'{first_line(error)}. Use the kernels of usrdu camera, or kernel_size: 0') from error


def _check_margin(dsn: Any, opt: Mapping[str, Any]) -> None:
    """Check that the DSN sees everything that the LR distribution of a patch depends on."""
    radius = dsn.receptive_radius
    margin, scale = MarginOptions.from_options(opt['datasets']['train']).margin, opt['scale']
    if margin < radius or margin % scale:
        least = -(-radius // scale) * scale
        raise InputError(
            f'got {margin}, expected a multiple of the scale {scale} that is >= {least} (receptive radius)'
        )


def _check_discriminator(net_d: torch.nn.Module, opt: Mapping[str, Any]) -> None:
    """Run the discriminator on a patch of the training: LR patches in stage 1, HR patches in stage 2."""
    gt_size = opt['datasets']['train']['gt_size']
    side = gt_size // opt['scale'] if opt['model_type'] == STAGE_1 else gt_size
    try:
        with torch.no_grad():
            net_d.eval()(torch.zeros(1, opt['network_d'].get('num_in_ch', 3), side, side))
    except (RuntimeError, AssertionError) as error:
        problem = f'{type(net_d).__name__} fails on {side}x{side} pixels ({first_line(error)})'
        raise InputError(f'got {gt_size}, but {problem}. Use a multiple of 32, or the size of network_d') from error


def _build_optimizer(optimizer: Mapping[str, Any]) -> torch.optim.Optimizer:
    """Build an optimizer of one parameter."""
    parameter = torch.nn.Parameter(torch.zeros(1))
    return build_from_options(OPTIMIZERS, {**optimizer, 'params': [parameter]}, '')
