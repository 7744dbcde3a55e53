"""Order of the images and their random crops, also after resuming."""

import random
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from basicsr.data import build_dataloader, build_dataset
from basicsr.data.data_sampler import EnlargedSampler
from torch.utils.data import Dataset

from sample_images import write_sample_images
from usrdu_basicsr.compat.resume import Resumer
from usrdu_basicsr.data.resumable_sampler import ResumableSampler, SeededDataset, SeededIndex
from usrdu_basicsr.utils.seed import derive_seed
from usrdu_basicsr.utils.stop_signal import SIGNALS


@pytest.fixture(autouse=True)
def restore_handlers():
    """Restore the signal handlers, which a loader for training replaces."""
    handlers = [signal.getsignal(number) for number in SIGNALS]
    yield
    for number, handler in zip(SIGNALS, handlers, strict=True):
        signal.signal(number, handler)


@pytest.fixture(scope='module')
def image_folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp('images')
    write_sample_images(folder / 'hr', 3, 80, 96)
    write_sample_images(folder / 'camera', 3, 24, 32)
    return folder


def load_batches(folder: Path, epochs: range, workers: int, iteration: int = 0) -> list[list[torch.Tensor]]:
    """Batches of the given epochs of a training that resumes from an iteration."""
    opt = {
        'name': 'images',
        'type': 'UnpairedImageDataset',
        'phase': 'train',
        'scale': 4,
        'gt_size': 64,
        'dataroot_gt': str(folder / 'hr'),
        'dataroot_lq': str(folder / 'camera'),
        'use_hflip': True,
        'batch_size_per_gpu': 2,
        'num_worker_per_gpu': workers,
        'persistent_workers': workers > 0,
    }
    dataset = build_dataset(opt)
    images = EnlargedSampler(dataset, 1, 0, 3)
    resumer = Resumer()
    resumer.opt = {'model_type': 'UncertaintyDSNModel', 'dist': False, 'num_gpu': 0, 'rank': 0, 'manual_seed': 7}
    resumer.state = {'iter': iteration, 'epoch': 99} if iteration else None
    loader = resumer.build_dataloader(build_dataloader, dataset, opt, num_gpu=0, dist=False, sampler=images, seed=7)
    if iteration:
        assert resumer.state['epoch'] == epochs[0]
    batches = []
    for epoch in epochs:
        images.set_epoch(epoch)
        batches.append([torch.cat([batch['gt'].flatten(), batch['lq'].flatten()]) for batch in loader])
    return batches


def equal(first: list[list[torch.Tensor]], second: list[list[torch.Tensor]]) -> bool:
    assert list(map(len, first)) == list(map(len, second))
    return all(torch.equal(a, b) for x, y in zip(first, second, strict=True) for a, b in zip(x, y, strict=True))


@pytest.mark.parametrize('workers', [0, 1, 2])
def test_resumed_training_reads_the_remaining_batches(image_folders: Path, workers: int):
    """9 images in batches of 2 give epochs of 5 batches, of which the last is filled."""
    uninterrupted = load_batches(image_folders, range(3), 0)
    assert list(map(len, uninterrupted)) == [5, 5, 5]
    random.seed(11)  # neither the global seeds nor the workers matter
    np.random.seed(11)
    torch.manual_seed(11)
    assert equal(load_batches(image_folders, range(3), workers), uninterrupted)
    for iteration, first in ((3, 0), (5, 1), (9, 1), (10, 2)):
        resumed = load_batches(image_folders, range(first, 3), workers, iteration)
        expected = [uninterrupted[first][iteration - 5 * first :], *uninterrupted[first + 1 :]]
        assert equal(resumed, expected), iteration
    flat = [batch for epoch in uninterrupted for batch in epoch]
    assert not any(torch.equal(a, b) for i, a in enumerate(flat) for b in flat[:i])


def sample(ranks: int, batch: int, length: int, epoch: int, seed: int = 7) -> list[list[tuple[int, int]]]:
    """(index, seed) of the images of each batch, of all ranks together."""
    batches: list[list[tuple[int, int]]] = []
    for rank in range(ranks):
        images = EnlargedSampler(range(length), ranks, rank)
        images.set_epoch(epoch)
        sampler = ResumableSampler(images, seed, -(-len(images) // batch), batch)
        indices = list(sampler)
        assert len(indices) == len(sampler) and len(indices) % batch == 0
        for i in range(0, len(indices), batch):
            if rank == 0:
                batches.append([])
            batches[i // batch] += indices[i : i + batch]
    return batches


def test_ranks_share_the_batches_of_a_single_process():
    for epoch in (0, 1):
        single = sample(1, 8, 32, epoch)
        for ranks, batch in ((2, 4), (4, 2)):
            assert list(map(sorted, sample(ranks, batch, 32, epoch))) == list(map(sorted, single))
        assert sorted(index for step in single for index, _ in step) == list(range(32))
    assert sample(1, 8, 32, 0) != sample(1, 8, 32, 1)
    seeds = {seed for epoch in (0, 1) for key in (7, 8) for step in sample(1, 8, 32, epoch, key) for _, seed in step}
    assert len(seeds) == 2 * 2 * 32


@pytest.mark.parametrize('batch', [2, 4, 7])
def test_incomplete_batch_is_filled_with_other_crops(batch: int):
    steps = sample(1, batch, 3, 0)
    assert len(steps) == -(-3 // batch)
    samples = [sample for step in steps for sample in step]
    assert sorted({index for index, _ in samples}) == [0, 1, 2]
    assert len({seed for _, seed in samples}) == len(samples)


class RandomDataset(Dataset):
    """User-defined dataset that draws from Python, NumPy and torch."""

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> tuple[int, float, float, float]:
        assert type(index) is int
        return index, random.random(), np.random.rand(), torch.rand(()).item()


def test_index_seeds_any_dataset():
    sampler = ResumableSampler(EnlargedSampler(RandomDataset(), 1, 0), 7, 4, 1)
    expected = {}
    for index, seed in sampler:
        torch.manual_seed(seed)
        expected[index] = np.random.RandomState(seed).rand(), torch.rand(()).item()
    for workers in (1, 2):
        loader = torch.utils.data.DataLoader(SeededDataset(RandomDataset()), 1, sampler=sampler, num_workers=workers)
        for index, _, by_numpy, by_torch in loader:
            assert by_numpy.item() == expected[index.item()][0]
            assert by_torch.item() == pytest.approx(expected[index.item()][1])

    torch.manual_seed(1)
    index = SeededIndex(2, derive_seed(1))
    SeededDataset(RandomDataset())[index]
    torch.manual_seed(1)
    drawn = torch.rand(())
    torch.manual_seed(1)
    assert SeededDataset(RandomDataset())[index][3] == drawn.item()  # torch is not seeded in the main process
