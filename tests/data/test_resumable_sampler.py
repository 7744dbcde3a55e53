"""Which image comes when, and with which crop."""

from __future__ import annotations

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
from usrdu_basicsr.compat.resume import Resumption
from usrdu_basicsr.data.resumable_sampler import ResumableSampler, SeededDataset, SeededIndex
from usrdu_basicsr.utils.seed import derive_seed
from usrdu_basicsr.utils.stop_signal import SIGNALS


@pytest.fixture(autouse=True)
def handlers_kept():
    """Building a loader for training takes the signals."""
    handlers = [signal.getsignal(number) for number in SIGNALS]
    yield
    for number, handler in zip(SIGNALS, handlers, strict=True):
        signal.signal(number, handler)


@pytest.fixture(scope='module')
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp('photos')
    write_sample_images(folder / 'hr', 3, 80, 96)
    write_sample_images(folder / 'camera', 3, 24, 32)
    return folder


def loaded(photos: Path, epochs: range, workers: int, iteration: int = 0, batch: int = 2) -> list[list[torch.Tensor]]:
    """The batches of some epochs of a training that goes on after an iteration."""
    opt = {
        'name': 'photos',
        'type': 'UnpairedImageDataset',
        'phase': 'train',
        'scale': 4,
        'gt_size': 64,
        'dataroot_gt': str(photos / 'hr'),
        'dataroot_lq': str(photos / 'camera'),
        'use_hflip': True,
        'batch_size_per_gpu': batch,
        'num_worker_per_gpu': workers,
        'persistent_workers': workers > 0,
    }
    dataset = build_dataset(opt)
    images = EnlargedSampler(dataset, 1, 0, 3)
    resumption = Resumption()
    resumption.opt = {'model_type': 'UncertaintyDSNModel', 'dist': False, 'num_gpu': 0, 'manual_seed': 7}
    resumption.state = {'iter': iteration, 'epoch': 99} if iteration else None
    loader = resumption.build_dataloader(build_dataloader, dataset, opt, num_gpu=0, dist=False, sampler=images, seed=7)
    if iteration:
        assert resumption.state['epoch'] == epochs[0]
    batches = []
    for epoch in epochs:
        images.set_epoch(epoch)
        batches.append([torch.cat([batch['gt'].flatten(), batch['lq'].flatten()]) for batch in loader])
    return batches


def equal(one: list[list[torch.Tensor]], other: list[list[torch.Tensor]]) -> bool:
    assert list(map(len, one)) == list(map(len, other))
    return all(torch.equal(a, b) for x, y in zip(one, other, strict=True) for a, b in zip(x, y, strict=True))


@pytest.mark.parametrize('workers', [0, 1, 2])
def test_a_resumed_training_sees_what_is_due(photos: Path, workers: int):
    """9 images and batches of 2 make epochs of 5 batches, the last filled up."""
    whole = loaded(photos, range(3), 0)
    assert list(map(len, whole)) == [5, 5, 5]
    random.seed(11)  # neither these nor the workers matter
    np.random.seed(11)
    torch.manual_seed(11)
    assert equal(loaded(photos, range(3), workers), whole)
    for iteration, first in ((3, 0), (5, 1), (9, 1), (10, 2)):
        resumed = loaded(photos, range(first, 3), workers, iteration)
        due = [whole[first][iteration - 5 * first :], *whole[first + 1 :]]
        assert equal(resumed, due), iteration
    flat = [batch for epoch in whole for batch in epoch]
    assert not any(torch.equal(a, b) for i, a in enumerate(flat) for b in flat[:i])


def places(ranks: int, batch: int, length: int, epoch: int, seed: int = 7) -> list[list[tuple[int, int]]]:
    """(image, seed) of each batch, of all ranks together."""
    batches: list[list[tuple[int, int]]] = []
    for rank in range(ranks):
        images = EnlargedSampler(range(length), ranks, rank)
        images.set_epoch(epoch)
        sampler = ResumableSampler(images, seed, -(-len(images) // batch), batch)
        indices = [(int(index), index.seed) for index in sampler]
        assert len(indices) == len(sampler) and len(indices) % batch == 0
        for i in range(0, len(indices), batch):
            if rank == 0:
                batches.append([])
            batches[i // batch] += indices[i : i + batch]
    return batches


def test_ranks_share_the_batches_of_one():
    for epoch in (0, 1):
        alone = places(1, 8, 32, epoch)
        for ranks, batch in ((2, 4), (4, 2)):
            assert list(map(sorted, places(ranks, batch, 32, epoch))) == list(map(sorted, alone))
        assert sorted(index for step in alone for index, _ in step) == list(range(32))
    assert places(1, 8, 32, 0) != places(1, 8, 32, 1)
    seeds = {seed for epoch in (0, 1) for key in (7, 8) for step in places(1, 8, 32, epoch, key) for _, seed in step}
    assert len(seeds) == 2 * 2 * 32


@pytest.mark.parametrize('batch', [2, 4, 7])
def test_few_images_fill_a_batch_with_other_crops(batch: int):
    steps = places(1, batch, 3, 0)
    assert len(steps) == -(-3 // batch)
    everything = [place for step in steps for place in step]
    assert sorted({index for index, _ in everything}) == [0, 1, 2]
    assert len({seed for _, seed in everything}) == len(everything)


class Drawing(Dataset):
    """Of a user, with random numbers of all three kinds."""

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> tuple[int, float, float, float]:
        assert type(index) is int
        return index, random.random(), np.random.rand(), torch.rand(()).item()


def test_any_dataset_draws_from_the_seed_of_the_index():
    sampler = ResumableSampler(EnlargedSampler(Drawing(), 1, 0), 7, 4, 1)
    expected = {}
    for index in sampler:
        torch.manual_seed(index.seed)
        expected[int(index)] = np.random.RandomState(index.seed).rand(), torch.rand(()).item()
    for workers in (1, 2):
        loader = torch.utils.data.DataLoader(SeededDataset(Drawing()), 1, sampler=sampler, num_workers=workers)
        for index, _, by_numpy, by_torch in loader:
            assert by_numpy.item() == expected[index.item()][0]
            assert by_torch.item() == pytest.approx(expected[index.item()][1])

    torch.manual_seed(1)
    index = SeededIndex(2)
    index.seed = derive_seed(1)
    SeededDataset(Drawing())[index]
    torch.manual_seed(1)
    drawn = torch.rand(())
    torch.manual_seed(1)
    assert SeededDataset(Drawing())[index][3] == drawn.item()  # in the main process torch goes on as it was
