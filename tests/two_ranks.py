"""Distributed training on two ranks. As a script, it writes results for `models/test_distributed.py`.

The argument is the device: `cpu` (gloo) or `cuda` (NCCL, one GPU per rank).
"""

import multiprocessing
import os
import socket
import sys
from pathlib import Path
from typing import Any

import usrdu_basicsr  # noqa: F401  # before BasicSR, which cannot be imported without its patch

# isort: split
import torch
import torch.distributed as dist
from basicsr.data import build_dataloader, build_dataset
from basicsr.data.data_sampler import EnlargedSampler
from basicsr.models import build_model
from basicsr.models.base_model import BaseModel
from basicsr.utils import set_random_seed
from basicsr.utils.dist_util import get_dist_info, init_dist

from tiny_runs import dsn_options, srn_options
from usrdu_basicsr.compat.resume import Resumer

WORLD_SIZE = 2
GPUS = {'cpu': 0, 'cuda': WORLD_SIZE}
PATCHES = {
    'name': 'images', 'type': 'UnpairedImageDataset', 'dataroot_gt': 'hr', 'dataroot_lq': 'camera.lmdb',
    'phase': 'train', 'scale': 4, 'gt_size': 64, 'batch_size_per_gpu': 2, 'num_worker_per_gpu': 2,
    'persistent_workers': True,
}  # fmt: skip


def gradient(rank: int, device: str) -> dict[str, Any]:
    """Gradients of a network whose initial weights and inputs differ between ranks."""
    model = BaseModel({'num_gpu': GPUS[device], 'dist': True, 'is_train': True, 'rank': rank, 'world_size': WORLD_SIZE})
    torch.manual_seed(rank)
    net = model.model_to_device(torch.nn.Linear(1, 1, bias=False))
    net(torch.tensor([[rank + 1.0]]).to(model.device)).sum().backward()
    weight = model.get_bare_model(net).weight
    result = {'backend': dist.get_backend(), 'device': weight.device.index}
    return result | {'weight': weight.data.cpu(), 'gradient': weight.grad.item()}


def patches(rank: int) -> list[list[tuple]]:
    """Patches of two epochs and the paths of their LR images."""
    set_random_seed(rank)  # as BasicSR's launcher does with manual_seed: 0
    dataset = build_dataset(PATCHES)
    sampler = EnlargedSampler(dataset, WORLD_SIZE, rank, 8)
    resumer = Resumer()
    resumer.opt = {'model_type': 'UncertaintyDSNModel', 'dist': True, 'rank': rank, 'num_gpu': 0, 'manual_seed': 0}
    settings = {'num_gpu': 0, 'dist': True, 'sampler': sampler, 'seed': 0}
    loader = resumer.build_dataloader(build_dataloader, dataset, PATCHES, **settings)
    epochs = []
    for epoch in range(2):
        sampler.set_epoch(epoch)
        epochs.append([(batch['gt'].clone(), batch['lq_path']) for batch in loader])
    return epochs


def trained(stage: str, accum_iter: int, rank: int, world_size: int, device: str) -> dict[str, dict[str, torch.Tensor]]:
    """Networks and log after two steps; each rank receives its share of each batch."""
    options = {'dsn': dsn_options, 'srn': srn_options}[stage]
    opt = options(Path('.')) | {'dist': world_size > 1, 'rank': rank, 'world_size': world_size}
    opt['num_gpu'] = min(GPUS[device], world_size)
    opt['train']['accum_iter'] = accum_iter
    torch.manual_seed(0)
    model = build_model(opt)
    model.get_bare_model(model.net_d).eval()  # the spectral norms advance with each forward pass
    for step in (1, 2):
        torch.manual_seed(step)
        batch = {'gt': torch.rand(4, 3, 64, 64), 'lq': torch.rand(4, 3, 16, 16)}
        model.feed_data({name: value.chunk(world_size)[rank] for name, value in batch.items()})
        model.optimize_parameters(step)
    names = ('net_g', 'net_g_ema', 'net_d')
    nets = {name: model.get_bare_model(getattr(model, name)) for name in names}
    result = {name: {key: value.cpu() for key, value in net.state_dict().items()} for name, net in nets.items()}
    return result | {'log': {name: torch.tensor(value) for name, value in model.get_current_log().items()}}


def main(rank: int, device: str) -> None:
    os.environ |= {'RANK': str(rank), 'LOCAL_RANK': str(rank)}
    init_dist('pytorch')
    assert get_dist_info() == (rank, WORLD_SIZE)
    torch.save(gradient(rank, device), f'gradient_{rank}.pt')
    for stage in ('dsn', 'srn'):
        for accum_iter in (1, 2):
            torch.save(trained(stage, accum_iter, rank, WORLD_SIZE, device), f'{stage}_{accum_iter}_{rank}.pt')
    torch.save(patches(rank), f'patches_{rank}.pt')
    dist.barrier()  # no rank destroys the group while the other one uses it
    dist.destroy_process_group()


if __name__ == '__main__':
    multiprocessing.set_start_method('fork')  # for data workers; BasicSR's default `spawn` imports everything again
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        os.environ |= {'MASTER_ADDR': '127.0.0.1', 'MASTER_PORT': str(free.getsockname()[1])}
    os.environ['WORLD_SIZE'] = str(WORLD_SIZE)
    torch.multiprocessing.start_processes(main, sys.argv[1:], nprocs=WORLD_SIZE, start_method='fork')
