"""Random crops whose sequence differs between workers and epochs."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import get_worker_info

from usrdu_basicsr.errors import InputError
from usrdu_basicsr.images import image_size

_seeded_for: int | None = None


def seed_worker_once() -> None:
    """Seed `random`, which BasicSR's transforms draw from, with the seed that torch gives a worker for each epoch.

    BasicSR seeds its workers alike at every epoch, so each epoch would repeat the crops of the first.
    """
    global _seeded_for
    worker = get_worker_info()
    if worker is not None and worker.seed != _seeded_for:
        _seeded_for = worker.seed
        random.seed(torch.initial_seed())


def random_crop(image: np.ndarray, size: int) -> np.ndarray:
    """A `size` x `size` window of `(H, W, C)`, anywhere."""
    top = random.randint(0, image.shape[0] - size)
    left = random.randint(0, image.shape[1] - size)
    return image[top : top + size, left : left + size]


def check_holds_crop(paths: Sequence[Path], size: int, option: str) -> None:
    """Refuse images smaller than the crop, and files whose header cannot be read, before a run starts.

    Args:
        paths: Image files.
        size: Side of the crop, pixels.
        option: What sets it, for the message.

    Raises:
        InputError: Names the first such file and counts the others.
    """
    small = [path for path in paths if min(image_size(path)) < size]
    if small:
        height, width = image_size(small[0])
        others = f' and {len(small) - 1} more' if len(small) > 1 else ''
        raise InputError(
            f"image '{small[0]}'{others}: {height}x{width} pixels are too few for crops of {size}x{size}"
            f' ({option}): remove it or lower gt_size'
        )
