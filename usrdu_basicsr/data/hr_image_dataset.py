"""HR photos alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from basicsr.data.transforms import augment
from basicsr.utils import img2tensor
from basicsr.utils.registry import DATASET_REGISTRY
from torch.utils.data import Dataset

from usrdu_basicsr.data.bad_image_policy import BadImagePolicy
from usrdu_basicsr.data.transforms import check_crop_fits, random_crop
from usrdu_basicsr.storage.formats import IMAGE
from usrdu_basicsr.storage.open_source import open_source
from usrdu_basicsr.storage.source import Source
from usrdu_basicsr.utils.images import to_float


@DATASET_REGISTRY.register()
class HRImageDataset(Dataset):
    """Crops of HR photos for training, whole photos (cropped to a multiple of the scale) otherwise.

    For stage 2 with the DSN on the fly, and for validating stage 1 where no pairs exist.

    Items: `gt`, `(3, H, W)` float32, RGB, [0, 1]; `gt_path`.

    Args:
        opt: `dataroot_gt`, a folder or an LMDB, and `meta_info_file`, if not all of it shall be taken; `scale`; for
            training `gt_size`, `use_hflip`, `use_rot`, `on_bad_image` (`stop` or `skip`).

    Raises:
        InputNotFoundError: The folder or LMDB does not exist.
        InputError: It is empty, an image is unreadable, or for training smaller than `gt_size`.
    """

    options = frozenset(
        {'dataroot_gt', 'meta_info_file', 'gt_size', 'use_hflip', 'use_rot', 'io_backend', 'on_bad_image'}
    )

    def __init__(self, opt: Mapping[str, Any]) -> None:
        self.opt = opt
        self.training = opt['phase'] == 'train'
        self.gt = open_source(opt['dataroot_gt'], IMAGE, opt.get('meta_info_file'))
        self.gt_policy = BadImagePolicy(len(self.gt), opt.get('on_bad_image', 'stop'))
        if self.training:
            self.check_crops(self.gt, self.gt_policy, opt['gt_size'], 'gt_size')
        else:
            self.gt_policy.check(self.gt.size)

    def __len__(self) -> int:
        return len(self.gt)

    def check_crops(self, source: Source, usable: BadImagePolicy, size: int, option: str) -> None:
        """Look at each image, whether it holds a crop of `size`, which `option` sets."""
        usable.check(lambda index: check_crop_fits(source.size(index), size, option, source.name(index)))

    def read_crop(self, source: Source, index: int, size: int) -> tuple[np.ndarray, str]:
        """A crop `(size, size, 3)` of an image, BGR, [0, 1], flipped and turned as the options say, and its path."""
        image = source.read(index)
        check_crop_fits(image.shape[:2], size, 'gt_size', source.name(index))
        # only the crop is brought to floating point
        image = augment(random_crop(image, size), self.opt.get('use_hflip', False), self.opt.get('use_rot', False))
        return to_float(image), source.name(index)

    def __getitem__(self, index: int) -> dict[str, Any]:
        if self.training:
            image, path = self.gt_policy.read(index, lambda i: self.read_crop(self.gt, i, self.opt['gt_size']))
        else:
            image, path = to_float(self.gt.read(index)), self.gt.name(index)
            height, width = (side // self.opt['scale'] * self.opt['scale'] for side in image.shape[:2])
            image = image[:height, :width]
        return {'gt': img2tensor(image), 'gt_path': path}
