"""Data and checkpoints for runs of the shipped recipes."""

from pathlib import Path

import numpy as np
import torch
from basicsr.archs import build_network

from sample_images import downsample_images, write_sample_images
from usrdu_basicsr.archs.dsn_arch import UncertaintyDSN
from usrdu_basicsr.data.kernel_set import write_kernel
from usrdu_basicsr.inference.generate_lr import generate_set
from usrdu_basicsr.options.reading import read_options_file

OPTIONS = Path(__file__).parents[1] / 'options'


def read(path: Path) -> dict:
    """Options of a recipe."""
    return read_options_file(str(path)).options


def make_data(opt: dict) -> None:
    """Write small images, log-scale maps and kernels to the paths in the options."""
    if 'kernels' in opt.get('train', {}):
        write_kernel(Path(opt['train']['kernels']), 'box', np.full((5, 5), 1 / 25))
    for phase, dataset in opt['datasets'].items():
        if 'dataroot_gt' not in dataset:
            write_sample_images(Path(dataset['dataroot_lq']), 1, 20, 24)
            continue
        hr = Path(dataset['dataroot_gt'])
        side = 80 if phase != 'train' or dataset['type'] != 'HRImageDataset' else 64 + 2 * dataset['margin']
        write_sample_images(hr, 2, side, side + 16)
        if 'dataroot_lq' in dataset:
            downsample_images(hr, Path(dataset['dataroot_lq']), opt['scale'])
        if 'dataroot_log_scale' in dataset:
            dsn = UncertaintyDSN(num_feat=4, num_block=0, scale=opt['scale'])
            torch.save({'params': dsn.state_dict()}, 'dsn.pth')
            generated = Path(dataset['dataroot_lq']).parent
            for path in Path(dataset['dataroot_lq']).iterdir():
                path.unlink()
            generate_set(hr, generated, 'dsn.pth', torch.device('cpu'))
        if phase == 'train':
            dataset.update(gt_size=64, batch_size_per_gpu=1, num_worker_per_gpu=0, dataset_enlarge_ratio=1)
            dataset.pop('persistent_workers', None)


def make_checkpoints(opt: dict) -> None:
    """Save randomly initialised networks to the checkpoint paths in the options."""
    for net in ('g', 'dsn'):
        path = opt['path'].get(f'pretrain_network_{net}')
        if path is not None:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            torch.save({'params': build_network(opt[f'network_{net}']).state_dict()}, path)
