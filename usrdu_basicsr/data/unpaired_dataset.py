"""HR images and unpaired real LR images, for stage 1."""

import random
from collections.abc import Mapping
from typing import Any

from basicsr.utils import img2tensor
from basicsr.utils.registry import DATASET_REGISTRY

from usrdu_basicsr.data.bad_image_policy import BadImagePolicy
from usrdu_basicsr.data.hr_image_dataset import HRImageDataset
from usrdu_basicsr.options.schema.dataset_options import PolicyOptions, UnpairedImageOptions
from usrdu_basicsr.storage.open_source import open_source
from usrdu_basicsr.storage.source import IMAGE
from usrdu_basicsr.utils.errors import InputError


@DATASET_REGISTRY.register()
class UnpairedImageDataset(HRImageDataset):
    """Patches of a real LR image and of an independent HR image, for training only.

    An epoch is one pass over the images of one side. The image of the other side is drawn at random for each item.

    Items: `gt`, `(3, gt_size, gt_size)`, and `lq`, `(3, gt_size // scale, gt_size // scale)`, float32, RGB, [0, 1];
    `gt_path`, `lq_path`.

    Args:
        opt: `dataroot_gt`, `dataroot_lq`, folders or LMDBs; `meta_info_file`, `meta_info_file_lq`, optional lists of
            the images to use; `scale`; `gt_size`, `use_hflip`, `use_rot`, `on_bad_image` (`stop` or `skip`);
            `epoch_over`, `lq` (default, as published) or `gt`.

    Raises:
        InputNotFoundError: If a folder or LMDB does not exist.
        InputError: If one is empty, an image is unreadable or smaller than its patch, `gt_size` is not a multiple of
            the scale, or the phase is not `train`.
    """

    def __init__(self, opt: Mapping[str, Any]) -> None:
        super().__init__(opt, margin=0)
        if not self.training:
            raise InputError(
                'UnpairedImageDataset supports training only. For validation use HRImageDataset, or PairedImageDataset'
                ' if each HR image has a real LR image'
            )
        gt_size, scale, images = self.patches.gt_size, opt['scale'], UnpairedImageOptions.from_options(opt)
        if gt_size % scale:
            raise InputError(f'gt_size: got {gt_size}, expected a multiple of scale {scale}')
        self.epoch_over = images.epoch_over
        self.lq_size = gt_size // scale
        self.lq = open_source(images.dataroot_lq, IMAGE, images.meta_info_file_lq)
        self.lq_policy = BadImagePolicy(len(self.lq), PolicyOptions.from_options(opt).on_bad_image)
        self.check_patches(self.lq, self.lq_policy, self.lq_size, 'gt_size // scale')

    def __len__(self) -> int:
        return len(self.lq if self.epoch_over == 'lq' else self.gt)

    def __getitem__(self, index: int) -> dict[str, Any]:
        if self.epoch_over == 'lq':
            gt_index, lq_index = random.randrange(len(self.gt)), index
        else:
            gt_index, lq_index = index, random.randrange(len(self.lq))
        lq, lq_path = self.lq_policy.read(lq_index, lambda i: self.read_patch(self.lq, i, self.lq_size))
        gt, gt_path = self.gt_policy.read(gt_index, lambda i: self.read_patch(self.gt, i, self.patches.gt_size))
        gt, lq = img2tensor([gt, lq])
        return {'gt': gt, 'lq': lq, 'gt_path': gt_path, 'lq_path': lq_path}
