"""Small training runs of both stages: options, datasets and output files."""

from pathlib import Path

import torch

from sample_images import downsample_images, write_sample_images
from tiny_runs import ADAM, DISCRIMINATOR, DSN, GAN, SRN
from usrdu_basicsr.storage.generated_set import write_log_scale

SAVE_FREQ = 3
TOTAL = {'dsn': 30, 'srn': 150}  # iterations


def options(name: str, stage: str, workers: int = 2, dsn: str = 'SmallDSN') -> dict:
    """Training options with noise, a discriminator and EMA. Most checkpoints are saved within an epoch."""
    pairs = {'name': 'pairs', 'type': 'PairedImageDataset', 'dataroot_gt': 'hr', 'dataroot_lq': 'real'}
    data = {
        'dsn': {'type': 'UnpairedImageDataset', 'dataroot_lq': 'camera'},
        'srn': {'type': 'UncertaintyPairedDataset', 'dataroot_lq': 'set/lr', 'dataroot_log_scale': 'set/log_scale'},
    }[stage]
    loader = {'gt_size': 64, 'use_hflip': True, 'use_rot': True, 'batch_size_per_gpu': 2, 'num_worker_per_gpu': workers}
    losses = {
        'dsn': {'pixel_opt': {'type': 'LaplaceKLLoss', 'loss_weight': 100}},
        'srn': {'pixel_opt': {'type': 'L1Loss'}, 'low_frequency_opt': {'type': 'LowFrequencyLoss'}},
    }[stage]
    return {
        'name': name,
        'model_type': {'dsn': 'UncertaintyDSNModel', 'srn': 'GradientGANModel'}[stage],
        'scale': 4,
        'num_gpu': 0,
        'manual_seed': 3,
        'datasets': {
            'train': data | loader | {'name': 'images', 'dataroot_gt': 'hr', 'dataset_enlarge_ratio': 5},
            'val': pairs | {'io_backend': {'type': 'disk'}},
        },
        'network_g': {'dsn': DSN | {'type': dsn}, 'srn': SRN}[stage],
        'network_d': DISCRIMINATOR,
        'path': {},
        'train': {
            'ema_decay': 0.9,
            'optim_g': ADAM,
            'optim_d': ADAM,
            'scheduler': {'type': 'MultiStepLR', 'milestones': [7, 20], 'gamma': 0.5},
            'total_iter': TOTAL[stage],
            'warmup_iter': 4,
            'gan_opt': GAN,
            **losses,
        },
        'val': {'val_freq': 5, 'save_img': False, 'metrics': {'psnr': {'type': 'calculate_psnr', 'crop_border': 0}}},
        'logger': {'print_freq': 1, 'save_checkpoint_freq': SAVE_FREQ, 'use_tb_logger': False},
    }


def write_data(folder: Path) -> None:
    """Write the datasets of the options: HR images, camera images, pairs and a generated set."""
    write_sample_images(folder / 'hr', 3, 80, 96)
    write_sample_images(folder / 'camera', 3, 24, 32)
    downsample_images(folder / 'hr', folder / 'real')
    downsample_images(folder / 'hr', folder / 'set' / 'lr')
    rng = torch.Generator().manual_seed(0)
    for path in (folder / 'set' / 'lr').iterdir():
        log_scale = torch.rand(20, 24, 3, generator=rng).numpy()
        write_log_scale(folder / 'set' / 'log_scale' / f'{path.stem}.npy', log_scale)


class Experiment:
    """Output folder of a training run."""

    def __init__(self, workspace: Path, name: str) -> None:
        self.folder = workspace / 'experiments' / name
        self.states = self.folder / 'training_states'
        self.models = self.folder / 'models'

    def newest(self) -> int:
        return max((int(path.stem) for path in self.states.glob('*.state')), default=0)

    def content(self, iteration: int | str) -> dict[str, object]:
        names = [self.models / f'net_{net}_{iteration}.pth' for net in 'gd']
        if iteration != 'latest':
            names.append(self.states / f'{iteration}.state')
        return {path.name: torch.load(path, weights_only=True) for path in names}


def equal(one: object, other: object) -> bool:
    """Whether two nested objects are equal; tensors are compared bit by bit."""
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(equal(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(equal, one, other))
    return one == other
