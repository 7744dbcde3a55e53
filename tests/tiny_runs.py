"""Minimal options of both stages, as completed by BasicSR's launcher, and batches for them."""

from pathlib import Path

import torch
from basicsr.models import build_model
from torch import nn

ADAM = {'type': 'Adam', 'lr': 1e-3, 'betas': [0.9, 0.99]}
DSN = {'type': 'UncertaintyDSN', 'num_feat': 8, 'num_block': 1, 'scale': 4}
SRN = {'type': 'SRVGGNetCompact_basicsr', 'num_feat': 8, 'num_conv': 1, 'upscale': 4}
DISCRIMINATOR = {'type': 'UNetDiscriminatorSN_basicsr', 'num_in_ch': 3, 'num_feat': 4}
GAN = {'type': 'GANLoss', 'gan_type': 'vanilla', 'loss_weight': 0.1}


def base_options(folder: Path) -> dict:
    """Options common to both stages; the output folders are in `folder`."""
    return {
        'name': 'run',
        'scale': 4,
        'num_gpu': 0,
        'dist': False,
        'rank': 0,
        'world_size': 1,
        'is_train': True,
        'manual_seed': 5,
        'path': {name: str(folder / name) for name in ('models', 'training_states', 'visualization', 'log')},
        'network_d': DISCRIMINATOR,
        'logger': {},
        'train': {
            'ema_decay': 0.9,
            'optim_g': ADAM,
            'optim_d': ADAM,
            'scheduler': {'type': 'MultiStepLR', 'milestones': [2], 'gamma': 0.5},
            'total_iter': 10,
            'gan_opt': GAN,
        },
        'val': {
            'metrics': {
                'psnr': {'type': 'calculate_psnr', 'crop_border': 0},
                'nll': {'type': 'calculate_laplace_nll', 'better': 'lower'},
            }
        },
    }


def dsn_options(folder: Path) -> dict:
    base = base_options(folder)
    losses = {
        'pixel_opt': {'type': 'LaplaceKLLoss', 'loss_weight': 100},
        'perceptual_opt': {'type': 'UncertaintyPerceptualLoss', 'weights': 'random'},
    }
    return base | {'model_type': 'UncertaintyDSNModel', 'network_g': DSN, 'train': base['train'] | losses}


def srn_options(folder: Path) -> dict:
    base = base_options(folder)
    losses = {'pixel_opt': {'type': 'L1Loss'}, 'low_frequency_opt': {'type': 'LowFrequencyLoss'}}
    val = {'metrics': {'psnr': base['val']['metrics']['psnr']}}
    return base | {
        'model_type': 'GradientGANModel',
        'network_g': SRN,
        'train': base['train'] | losses,
        'val': val,
    }


def unpaired_batch() -> dict[str, torch.Tensor]:
    return {'gt': torch.rand(2, 3, 64, 64), 'lq': torch.rand(2, 3, 16, 16)}


def generated_batch() -> dict[str, torch.Tensor]:
    return unpaired_batch() | {'log_scale': torch.rand(2, 3, 16, 16)}


def weights(net: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in net.state_dict().items()}


def same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(first[name], second[name]) for name in first | second)


STAGES = {'dsn': (dsn_options, unpaired_batch), 'srn': (srn_options, generated_batch)}


def paired_options(folder: Path) -> dict:
    """Validation set of the HR images in `hr` and the LR images in `real`."""
    return {
        'name': 'pairs',
        'type': 'PairedImageDataset',
        'dataroot_gt': str(folder / 'hr'),
        'dataroot_lq': str(folder / 'real'),
        'io_backend': {'type': 'disk'},
        'scale': 4,
        'phase': 'val',
    }


def model_of(stage: str, folder: Path, num_feat: int | None = None, num_gpu: int = 0, **train: object):
    """Build a model with the same initial weights on every call and device."""
    opt = STAGES[stage][0](folder) | {'num_gpu': num_gpu}
    torch.manual_seed(1)
    if num_feat is not None:
        opt |= {name: opt[name] | {'num_feat': num_feat} for name in ('network_g', 'network_d')}
    return build_model(opt | {'train': opt['train'] | train})


def step(model, batch: dict[str, torch.Tensor], current_iter: int = 1) -> dict[str, float]:
    model.feed_data(batch)
    model.optimize_parameters(current_iter)
    return model.get_current_log()


def largest_difference(first: nn.Module, second: nn.Module) -> float:
    pairs = zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    return max((one - other).abs().max().item() for one, other in pairs)
