"""Two processes without a GPU, started by torchrun."""

from __future__ import annotations

from pathlib import Path

from python_process import check_python

CODE = """
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
    dist.destroy_process_group()
"""


def test_two_processes_share_gradients(tmp_path: Path):
    (tmp_path / 'worker.py').write_text(CODE)
    check_python(
        *('-m', 'torch.distributed.run', '--standalone', '--nproc_per_node', '2', 'worker.py'),
        cwd=tmp_path,
        CUDA_VISIBLE_DEVICES='',
    )
    for rank in range(2):  # the gradients are 1 and 2, their mean 1.5
        assert (tmp_path / f'{rank}.txt').read_text() == '2 gloo 1.5 True\n'
