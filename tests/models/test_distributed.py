"""Training steps, data loading and gradients on two ranks, on the CPU (gloo) and on two GPUs (NCCL)."""

from collections import Counter
from pathlib import Path

import pytest
import torch

from python_process import ROOT, check_python, check_script
from sample_images import write_sample_images
from two_ranks import trained
from usrdu_basicsr.data_preparation.create_lmdb import create_lmdbs

pytestmark = pytest.mark.slow


@pytest.fixture(scope='module', params=['cpu', pytest.param('cuda', marks=pytest.mark.cuda(count=2))])
def device(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope='module')
def folder(device: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with the results of `two_ranks.py`."""
    folder = tmp_path_factory.mktemp('ranks')
    write_sample_images(folder / 'hr', 4)
    write_sample_images(folder / 'camera', 4, 24, 32)
    create_lmdbs([folder / 'camera'])
    script = ROOT / 'tests' / 'two_ranks.py'
    if device == 'cpu':
        check_script(script, device, cwd=folder, CUDA_VISIBLE_DEVICES='')
    else:
        check_python(script, device, cwd=folder)
    return folder


@pytest.mark.parametrize('stage', ['dsn', 'srn'])
def test_two_ranks_equal_one_process_with_the_joint_batch(
    stage: str, device: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    single = trained(stage, 1, 0, 1, device)
    for accum_iter in (1, 2):
        ranks = [torch.load(folder / f'{stage}_{accum_iter}_{rank}.pt') for rank in (0, 1)]
        for net in ('net_g', 'net_g_ema', 'net_d'):
            for name, value in single[net].items():
                assert torch.equal(ranks[0][net][name], ranks[1][net][name]), name
                # Adam turns rounding into steps where a gradient is almost 0; a step is 1e-3
                torch.testing.assert_close(ranks[0][net][name], value, rtol=0, atol=5e-5)
        for name, value in single['log'].items():  # rank 0 logs the means over all ranks
            torch.testing.assert_close(ranks[0]['log'][name], value, rtol=1e-3, atol=1e-5)


def test_ranks_workers_and_epochs_draw_different_patches(folder: Path):
    ranks = [torch.load(folder / f'patches_{rank}.pt') for rank in range(2)]
    sequences = []
    for epoch in range(2):
        paths = [path for rank in ranks for _, lq_paths in rank[epoch] for path in lq_paths]
        # 8 passes over the 4 camera images, shared between the ranks
        assert Counter(paths) == {str(Path('camera.lmdb') / path.stem): 8 for path in (folder / 'camera').iterdir()}
        for rank in ranks:
            for worker in range(2):
                sequences.append(torch.cat([gt for gt, _ in rank[epoch][worker::2]]))
    assert len(sequences) == 8
    for i, one in enumerate(sequences):
        for other in sequences[:i]:
            same = (one[:, None] - other).abs().amax((2, 3, 4)) == 0
            assert same.sum() <= 1  # of 8 x 8: there are 1,617 patches of each of four images


def test_ranks_all_reduce_gradients(device: str, folder: Path):
    ranks = [torch.load(folder / f'gradient_{rank}.pt') for rank in range(2)]
    assert torch.equal(ranks[0].pop('weight'), ranks[1].pop('weight'))
    assert [rank.pop('device') for rank in ranks] == {'cpu': [None, None], 'cuda': [0, 1]}[device]
    backend = {'cpu': 'gloo', 'cuda': 'nccl'}[device]
    assert ranks == [{'backend': backend, 'gradient': 1.5}] * 2  # mean of 1 and 2
