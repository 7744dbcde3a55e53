"""Which image comes when, and with which crop: by seed, epoch and place in the epoch alone.

So a resumed training sees what the uninterrupted one would have seen, whatever its workers are. BasicSR's begins its
epoch anew, and its workers draw the same crops in each.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import cycle, islice
from typing import Any

import numpy as np
import torch
from basicsr.data.data_sampler import EnlargedSampler
from torch.utils.data import Dataset, Sampler, get_worker_info

from usrdu_basicsr.utils.seed import derive_seed


class SeededIndex(int):
    """Index of an image, with the seed of its crop and flips."""

    seed: int


class SeededDataset(Dataset):
    """A dataset whose random numbers come from the seed of the index.

    Args:
        dataset: Any that draws from `random` or NumPy, or in data workers from torch.
    """

    def __init__(self, dataset: Any) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: SeededIndex) -> Any:
        random.seed(index.seed)
        np.random.seed(index.seed)
        if get_worker_info() is not None:  # in the main process, networks draw from torch
            torch.manual_seed(index.seed)
        return self.dataset[int(index)]


class ResumableSampler(Sampler[SeededIndex]):
    """BasicSR's order of images, from any iteration on, in epochs of whole batches.

    BasicSR counts an epoch's last, incomplete batch but leaves it out, and on several GPUs of one process counts those
    of one of them, so that a training ends too early. Here an epoch has as many batches as BasicSR counts: it goes on
    with its first images, in other crops.

    The images of all ranks together, and their crops, do not depend on how many ranks share them evenly.

    Args:
        sampler: BasicSR's, which knows the epoch and the rank.
        seed: The run's `manual_seed`.
        batches: Of this process in an epoch.
        batch_size: Of this process.
        iteration: After which the training goes on; 0 for a new one.
    """

    def __init__(self, sampler: EnlargedSampler, seed: int, batches: int, batch_size: int, iteration: int = 0) -> None:
        self.sampler = sampler
        self.seed = seed
        self.batches = batches
        self.batch_size = batch_size
        self.first_epoch, self.done = divmod(iteration, batches)

    def __len__(self) -> int:
        return self.batches * self.batch_size

    def __iter__(self) -> Iterator[SeededIndex]:
        epoch = self.sampler.epoch
        start = self.done * self.batch_size if epoch == self.first_epoch else 0
        for place, index in enumerate(islice(cycle(self.sampler), start, len(self)), start):
            seeded = SeededIndex(index)
            everywhere = place * self.sampler.num_replicas + self.sampler.rank
            seeded.seed = derive_seed(self.seed, epoch, everywhere)
            yield seeded
