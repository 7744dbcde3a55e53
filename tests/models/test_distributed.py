"""Two processes without a GPU, started by torchrun."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import torch

from python_process import ROOT, check_python
from sample_images import write_sample_images
from usrdu_basicsr.data_preparation.create_lmdb import create_lmdbs

GRADIENTS = """
import torch
import torch.distributed as dist
import usrdu_basicsr
usrdu_basicsr.register()
from basicsr.models.base_model import BaseModel
from basicsr.utils.dist_util import get_dist_info, init_dist

if __name__ == '__main__':
    init_dist('pytorch')
    rank, world_size = get_dist_info()
    model = BaseModel({'num_gpu': 0, 'dist': True, 'is_train': True, 'rank': rank, 'world_size': world_size})
    torch.manual_seed(rank)
    net = model.model_to_device(torch.nn.Linear(1, 1, bias=False))
    net(torch.tensor([[rank + 1.0]])).sum().backward()
    bare = model.get_bare_model(net)
    weights = [torch.empty_like(bare.weight.data) for _ in range(world_size)]
    dist.all_gather(weights, bare.weight.data)
    # to files, as the two outputs may interleave within a line
    with open(f'{rank}.txt', 'w') as file:
        print(world_size, dist.get_backend(), bare.weight.grad.item(), torch.equal(*weights), file=file)
    dist.barrier()  # neither takes the group down while the other still uses it
    dist.destroy_process_group()
"""


CROPS = """
import torch
import torch.distributed as dist
import usrdu_basicsr
usrdu_basicsr.register()
from basicsr.data import build_dataloader, build_dataset
from usrdu_basicsr.compat.resume import Resumer
from basicsr.data.data_sampler import EnlargedSampler
from basicsr.utils import set_random_seed
from basicsr.utils.dist_util import get_dist_info, init_dist

OPT = {
    'name': 'photos', 'type': 'UnpairedImageDataset', 'dataroot_gt': 'hr', 'dataroot_lq': 'camera.lmdb',
    'phase': 'train', 'scale': 4, 'gt_size': 64, 'batch_size_per_gpu': 2, 'num_worker_per_gpu': 2,
    'persistent_workers': True,
}

if __name__ == '__main__':
    init_dist('pytorch')
    rank, world_size = get_dist_info()
    set_random_seed(rank)  # as BasicSR's launcher does with manual_seed: 0
    dataset = build_dataset(OPT)
    sampler = EnlargedSampler(dataset, world_size, rank, 8)
    resumer = Resumer()
    resumer.opt = {'model_type': 'UncertaintyDSNModel', 'dist': True, 'num_gpu': 0, 'manual_seed': 0}
    settings = {'num_gpu': 0, 'dist': True, 'sampler': sampler, 'seed': 0}
    loader = resumer.build_dataloader(build_dataloader, dataset, OPT, **settings)
    epochs = []
    for epoch in range(2):
        sampler.set_epoch(epoch)
        epochs.append([(batch['gt'], batch['lq_path']) for batch in loader])
    torch.save(epochs, f'{rank}.pt')
    dist.barrier()
    dist.destroy_process_group()
"""


STEPS = """
import os
import torch
import torch.distributed as dist
import usrdu_basicsr
usrdu_basicsr.register()
from pathlib import Path
from basicsr.models import build_model
from basicsr.utils.dist_util import get_dist_info, init_dist
from tiny_runs import dsn_options, srn_options

if __name__ == '__main__':
    ranks = 'RANK' in os.environ
    if ranks:
        init_dist('pytorch')
    rank, world_size = get_dist_info()
    for stage, options in (('dsn', dsn_options), ('srn', srn_options)):
        for accum_iter in (1, 2):
            opt = options(Path('.')) | {'dist': ranks, 'rank': rank, 'world_size': world_size}
            opt['train']['accum_iter'] = accum_iter if ranks else 1
            torch.manual_seed(0)
            model = build_model(opt)
            model.get_bare_model(model.net_d).eval()  # its spectral norms advance with each look
            for step in (1, 2):
                torch.manual_seed(step)
                batch = {'gt': torch.rand(4, 3, 64, 64), 'lq': torch.rand(4, 3, 16, 16)}
                model.feed_data({k: v[2 * rank : 2 * rank + 2] if ranks else v for k, v in batch.items()})
                model.optimize_parameters(step)
            names = ('net_g', 'net_g_ema', 'net_d')
            nets = {name: model.get_bare_model(getattr(model, name)).state_dict() for name in names}
            nets['log'] = {name: torch.tensor(value) for name, value in model.get_current_log().items()}
            torch.save(nets, f'{stage}_{accum_iter}_{rank if ranks else "alone"}.pt')
    if ranks:
        dist.barrier()
        dist.destroy_process_group()
"""


def test_two_ranks_equal_one_process_with_the_joint_batch(tmp_path: Path):
    (tmp_path / 'worker.py').write_text(STEPS)
    settings = {'CUDA_VISIBLE_DEVICES': '', 'PYTHONPATH': os.pathsep.join([str(ROOT), str(ROOT / 'tests')])}
    check_python('worker.py', cwd=tmp_path, **settings)
    torchrun = ('-m', 'torch.distributed.run', '--standalone', '--nproc_per_node', '2')
    check_python(*torchrun, 'worker.py', cwd=tmp_path, **settings)
    for stage in ('dsn', 'srn'):
        for accum_iter in (1, 2):
            ranks = [torch.load(tmp_path / f'{stage}_{accum_iter}_{rank}.pt') for rank in (0, 1)]
            alone = torch.load(tmp_path / f'{stage}_{accum_iter}_alone.pt')
            for net in ('net_g', 'net_g_ema', 'net_d'):
                for name, value in alone[net].items():
                    assert torch.equal(ranks[0][net][name], ranks[1][net][name]), name
                    # Adam turns rounding into steps where a gradient is nearly none: against a step of 1e-3
                    torch.testing.assert_close(ranks[0][net][name], value, rtol=0, atol=5e-5)
            for name, value in alone['log'].items():  # rank 0 has the means
                torch.testing.assert_close(ranks[0]['log'][name], value, rtol=1e-3, atol=1e-5)


def test_ranks_workers_and_epochs_draw_different_patches(tmp_path: Path):
    write_sample_images(tmp_path / 'hr', 4)
    write_sample_images(tmp_path / 'camera', 4, 24, 32)
    create_lmdbs([tmp_path / 'camera'])
    (tmp_path / 'worker.py').write_text(CROPS)
    check_python(
        *('-m', 'torch.distributed.run', '--standalone', '--nproc_per_node', '2', 'worker.py'),
        cwd=tmp_path,
        CUDA_VISIBLE_DEVICES='',
    )
    ranks = [torch.load(tmp_path / f'{rank}.pt') for rank in range(2)]
    sequences = []
    for epoch in range(2):
        paths = [path for rank in ranks for _, lq_paths in rank[epoch] for path in lq_paths]
        # 8 passes over the 4 camera photos, shared between the ranks
        assert Counter(paths) == {str(Path('camera.lmdb') / path.stem): 8 for path in (tmp_path / 'camera').iterdir()}
        for rank in ranks:
            for worker in range(2):
                sequences.append(torch.cat([gt for gt, _ in rank[epoch][worker::2]]))
    assert len(sequences) == 8
    for i, one in enumerate(sequences):
        for other in sequences[:i]:
            same = (one[:, None] - other).abs().amax((2, 3, 4)) == 0
            assert same.sum() <= 1  # of 8 x 8: there are 1,617 crops of each of four photos


def test_ranks_all_reduce_gradients(tmp_path: Path):
    (tmp_path / 'worker.py').write_text(GRADIENTS)
    check_python(
        *('-m', 'torch.distributed.run', '--standalone', '--nproc_per_node', '2', 'worker.py'),
        cwd=tmp_path,
        CUDA_VISIBLE_DEVICES='',
    )
    for rank in range(2):  # the gradients are 1 and 2, their mean 1.5
        assert (tmp_path / f'{rank}.txt').read_text() == '2 gloo 1.5 True\n'
