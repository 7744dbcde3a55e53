"""Order and random crops of images that depend only on the seed, the epoch and the position in the epoch.

A resumed training therefore reads the same data as an uninterrupted one, for any number of workers. BasicSR restarts
the epoch on resuming, and its workers draw the same crops in each epoch.
"""

import random
from collections.abc import Iterator
from itertools import cycle, islice
from typing import Any, NamedTuple

import numpy as np
import torch
from basicsr.data.data_sampler import EnlargedSampler
from torch.utils.data import Dataset, Sampler, get_worker_info

from usrdu_basicsr.utils.seed import derive_seed


class SeededIndex(NamedTuple):
    """Index of an image and the seed of its random crop and augmentation."""

    image: int
    seed: int


class SeededDataset(Dataset):
    """Dataset whose random numbers are seeded by the index.

    Args:
        dataset: Dataset that draws from `random` or NumPy, or in data workers from torch.
    """

    def __init__(self, dataset: Any) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, item: SeededIndex) -> Any:
        random.seed(item.seed)
        np.random.seed(item.seed)
        if get_worker_info() is not None:  # in the main process, networks draw from torch
            torch.manual_seed(item.seed)
        return self.dataset[item.image]


class ResumableSampler(Sampler[SeededIndex]):
    """BasicSR's order of images, starting at any iteration, in epochs of complete batches.

    BasicSR counts the last, incomplete batch of an epoch but drops it. With several GPUs in one process it counts the
    batches of one GPU. Both end a training too early. Here an epoch has as many batches as BasicSR counts: its last
    batch is filled with the first images of the epoch, in other crops.

    The images and crops of all ranks together do not depend on the number of ranks, if the ranks share a batch evenly.

    Args:
        sampler: BasicSR's sampler, which knows the epoch and the rank.
        seed: Option `manual_seed`.
        batches: Number of batches per epoch in this process.
        batch_size: Number of images per batch in this process.
        iteration: Iteration that the training resumes from; 0 for a new training.
    """

    def __init__(self, sampler: EnlargedSampler, seed: int, batches: int, batch_size: int, iteration: int = 0) -> None:
        self.sampler = sampler
        self.seed = seed
        self.batches = batches
        self.batch_size = batch_size
        self.first_epoch, self.first_batch = divmod(iteration, batches)

    def __len__(self) -> int:
        return self.batches * self.batch_size

    def __iter__(self) -> Iterator[SeededIndex]:
        epoch = self.sampler.epoch
        start = self.first_batch * self.batch_size if epoch == self.first_epoch else 0
        for position, index in enumerate(islice(cycle(self.sampler), start, len(self)), start):
            global_position = position * self.sampler.num_replicas + self.sampler.rank
            yield SeededIndex(index, derive_seed(self.seed, epoch, global_position))
