"""HR photos and unrelated real LR photos, for stage 1."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

from basicsr.utils import img2tensor
from basicsr.utils.registry import DATASET_REGISTRY

from usrdu_basicsr.data.cropping import check_holds_crop, seed_worker_once
from usrdu_basicsr.data.hr_image_dataset import HRImageDataset
from usrdu_basicsr.errors import InputError
from usrdu_basicsr.images import list_images


@DATASET_REGISTRY.register()
class UnpairedImageDataset(HRImageDataset):
    """A crop of a real LR photo with a crop of any HR photo. For training only.

    An epoch is a pass over the real LR photos; the HR photo is drawn independently each time.

    Items: `gt`, `(3, gt_size, gt_size)`, and `lq`, `(3, gt_size // scale, gt_size // scale)`, float32, RGB, [0, 1];
    `gt_path`, `lq_path`.

    Args:
        opt: `dataroot_gt`, `dataroot_lq`, folders; `scale`; `gt_size`, `use_hflip`, `use_rot`.

    Raises:
        InputNotFoundError: A folder does not exist.
        InputError: One is empty, an image is unreadable or smaller than its crop, `gt_size` is not a multiple of the
            scale, or the phase is not `train`.
    """

    options = HRImageDataset.options | {'dataroot_lq'}

    def __init__(self, opt: Mapping[str, Any]) -> None:
        super().__init__(opt)
        if not self.training:
            raise InputError(
                'UnpairedImageDataset is for training: to validate use HRImageDataset, or PairedImageDataset where the'
                ' real LR photo of each HR photo is known'
            )
        if opt['gt_size'] % opt['scale']:
            raise InputError(f'gt_size {opt["gt_size"]} is not a multiple of scale {opt["scale"]}')
        self.lq_size = opt['gt_size'] // opt['scale']
        self.lq_paths = list_images(opt['dataroot_lq'])
        check_holds_crop(self.lq_paths, self.lq_size, 'gt_size // scale')

    def __len__(self) -> int:
        return len(self.lq_paths)

    def __getitem__(self, index: int) -> dict[str, Any]:
        seed_worker_once()
        gt_path, lq_path = random.choice(self.paths), self.lq_paths[index]
        lq = self.read_crop(lq_path, self.lq_size)
        gt = self.read_crop(gt_path, self.opt['gt_size'])
        gt, lq = img2tensor([gt, lq])
        return {'gt': gt, 'lq': lq, 'gt_path': str(gt_path), 'lq_path': str(lq_path)}
