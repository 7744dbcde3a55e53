"""HR photos alone."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from basicsr.data.transforms import augment
from basicsr.utils import img2tensor
from basicsr.utils.registry import DATASET_REGISTRY
from torch.utils.data import Dataset

from usrdu_basicsr.data.cropping import check_holds_crop, random_crop, seed_worker_once
from usrdu_basicsr.images import list_images, read_image


@DATASET_REGISTRY.register()
class HRImageDataset(Dataset):
    """Crops of HR photos for training, whole photos (cropped to a multiple of the scale) otherwise.

    For stage 2 with the DSN on the fly, and for validating stage 1 where no pairs exist.

    Items: `gt`, `(3, H, W)` float32, RGB, [0, 1]; `gt_path`.

    Args:
        opt: `dataroot_gt`, a folder; `scale`; for training `gt_size`, `use_hflip`, `use_rot`.

    Raises:
        InputNotFoundError: The folder does not exist.
        InputError: It is empty, or for training an image is unreadable or smaller than `gt_size`.
    """

    options = frozenset({'dataroot_gt', 'gt_size', 'use_hflip', 'use_rot', 'io_backend'})

    def __init__(self, opt: Mapping[str, Any]) -> None:
        self.opt = opt
        self.training = opt['phase'] == 'train'
        self.paths = list_images(opt['dataroot_gt'])
        if self.training:
            check_holds_crop(self.paths, opt['gt_size'], 'gt_size')

    def __len__(self) -> int:
        return len(self.paths)

    def read_crop(self, path: Path, size: int) -> np.ndarray:
        """A crop `(size, size, 3)` of a photo, BGR, flipped and turned as the options say."""
        image = random_crop(read_image(path), size)
        return augment(image, self.opt.get('use_hflip', False), self.opt.get('use_rot', False))

    def __getitem__(self, index: int) -> dict[str, Any]:
        seed_worker_once()
        path = self.paths[index]
        if self.training:
            image = self.read_crop(path, self.opt['gt_size'])
        else:
            image = read_image(path)
            height, width = (side // self.opt['scale'] * self.opt['scale'] for side in image.shape[:2])
            image = image[:height, :width]
        return {'gt': img2tensor(image), 'gt_path': str(path)}
