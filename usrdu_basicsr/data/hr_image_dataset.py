"""HR images without LR images."""

import random
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from basicsr.data.transforms import augment, paired_random_crop
from basicsr.utils import img2tensor
from basicsr.utils.registry import DATASET_REGISTRY
from torch.utils.data import Dataset

from usrdu_basicsr.data.bad_image_policy import BadImagePolicy, check_patch_fits
from usrdu_basicsr.options.schema.dataset_options import HRImageOptions, MarginOptions, PatchOptions, PolicyOptions
from usrdu_basicsr.storage.open_source import open_source
from usrdu_basicsr.storage.source import IMAGE, Source
from usrdu_basicsr.utils.images import to_float


@DATASET_REGISTRY.register()
class HRImageDataset(Dataset):
    """HR images, cropped to a multiple of the scale, for the validation of stage 1; windows of them for stage 2.

    In stage 2 an online DSN downsamples a window, which is a patch with its surroundings. Then `crop_and_augment` takes
    the patch from the window and from its LR distribution. Zero padding therefore has an influence only at borders of
    the image, as in a generated set.

    Items: `gt`, `(3, H, W)` float32, RGB, [0, 1]; `gt_path`; for training `crop`, `(5,)` int64, the position and
    augmentation of the patch in the window as in `crop_and_augment`, in LR pixels.

    Args:
        opt: `dataroot_gt`, a folder or an LMDB; `meta_info_file`, an optional list of the images to use; `scale`; for
            training `gt_size`, `margin`, `use_hflip`, `use_rot`, `on_bad_image` (`stop` or `skip`).
        margin: Replaces the option.

    Raises:
        InputNotFoundError: If the folder or LMDB does not exist.
        InputError: If it is empty, or an image is unreadable or, for training, smaller than a window.
    """

    def __init__(self, opt: Mapping[str, Any], margin: int | None = None) -> None:
        self.opt = opt
        self.training = opt['phase'] == 'train'
        images = HRImageOptions.from_options(opt)
        self.gt = open_source(images.dataroot_gt, IMAGE, images.meta_info_file)
        on_bad_image = PolicyOptions.from_options(opt).on_bad_image if self.training else 'stop'
        self.gt_policy = BadImagePolicy(len(self.gt), on_bad_image)
        if self.training:
            self.patches = PatchOptions.from_options(opt)
            self.margin = MarginOptions.from_options(opt).margin if margin is None else margin
            self.window_size = self.patches.gt_size + 2 * self.margin
            option = 'gt_size + 2 * margin' if self.margin else 'gt_size'
            self.check_patches(self.gt, self.gt_policy, self.window_size, option)
        else:
            self.gt_policy.check(self.gt.size)

    def __len__(self) -> int:
        return len(self.gt)

    def check_patches(self, source: Source, policy: BadImagePolicy, size: int, option: str) -> None:
        """Check that each image is at least as large as a patch, whose size comes from `option`."""
        policy.check(lambda index: check_patch_fits(source.size(index), size, option, source.name(index)))

    def read_patch(self, source: Source, index: int, size: int) -> tuple[np.ndarray, str]:
        """Read a random, augmented patch `(size, size, 3)`, BGR, [0, 1], and the path of its image."""
        image = source.read(index)
        check_patch_fits(image.shape[:2], size, 'gt_size', source.name(index))
        patch, _ = paired_random_crop(image, image, size, 1)
        patch = augment(patch, self.patches.use_hflip, self.patches.use_rot)
        return to_float(patch), source.name(index)  # converted after cropping, which is faster

    def __getitem__(self, index: int) -> dict[str, Any]:
        if self.training:
            return self.gt_policy.read(index, self._read_window)
        image = self._read_divisible(index)
        return {'gt': img2tensor(to_float(image)), 'gt_path': self.gt.name(index)}

    def _read_divisible(self, index: int) -> np.ndarray:
        image = self.gt.read(index)
        height, width = (side // self.opt['scale'] * self.opt['scale'] for side in image.shape[:2])
        return image[:height, :width]

    def _read_window(self, index: int) -> dict[str, Any]:
        image, scale = self._read_divisible(index), self.opt['scale']
        check_patch_fits(image.shape[:2], self.window_size, 'gt_size + 2 * margin', self.gt.name(index))
        starts, offsets = [], []
        for side in image.shape[:2]:
            patch = scale * random.randint(0, (side - self.patches.gt_size) // scale)
            # The window ends at the border of the image if the patch is closer to it than the margin.
            start = min(max(patch - self.margin, 0), side - self.window_size)
            starts.append(start)
            offsets.append((patch - start) // scale)
        (top, left), size = starts, self.window_size
        allowed = (self.patches.use_hflip, self.patches.use_rot, self.patches.use_rot)  # hflip, vflip, transposition
        flips = [int(each and random.random() < 0.5) for each in allowed]
        return {
            'gt': img2tensor(to_float(image[top : top + size, left : left + size])),
            'gt_path': self.gt.name(index),
            'crop': torch.tensor([*offsets, *flips]),
        }
