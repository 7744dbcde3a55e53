"""HR images without LR images."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from basicsr.data.transforms import augment, paired_random_crop
from basicsr.utils import img2tensor
from basicsr.utils.registry import DATASET_REGISTRY
from torch.utils.data import Dataset

from usrdu_basicsr.data.bad_image_policy import BadImagePolicy, check_patch_fits
from usrdu_basicsr.options.schema.dataset_options import HRImageOptions, PatchOptions, PolicyOptions
from usrdu_basicsr.storage.open_source import open_source
from usrdu_basicsr.storage.source import IMAGE, Source
from usrdu_basicsr.utils.images import to_float


@DATASET_REGISTRY.register()
class HRImageDataset(Dataset):
    """Patches of HR images for training, otherwise whole HR images, cropped to a multiple of the scale.

    It is used in stage 2 with an online DSN, and for the validation of stage 1 without pairs.

    Items: `gt`, `(3, H, W)` float32, RGB, [0, 1]; `gt_path`.

    Args:
        opt: `dataroot_gt`, a folder or an LMDB; `meta_info_file`, an optional list of the images to use; `scale`; for
            training `gt_size`, `use_hflip`, `use_rot`, `on_bad_image` (`stop` or `skip`).

    Raises:
        InputNotFoundError: If the folder or LMDB does not exist.
        InputError: If it is empty, or an image is unreadable or, for training, smaller than `gt_size`.
    """

    def __init__(self, opt: Mapping[str, Any]) -> None:
        self.opt = opt
        self.training = opt['phase'] == 'train'
        images = HRImageOptions.from_options(opt)
        self.gt = open_source(images.dataroot_gt, IMAGE, images.meta_info_file)
        on_bad_image = PolicyOptions.from_options(opt).on_bad_image if self.training else 'stop'
        self.gt_policy = BadImagePolicy(len(self.gt), on_bad_image)
        if self.training:
            self.patches = PatchOptions.from_options(opt)
            self.check_patches(self.gt, self.gt_policy, self.patches.gt_size, 'gt_size')
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
            image, path = self.gt_policy.read(index, lambda i: self.read_patch(self.gt, i, self.patches.gt_size))
        else:
            image, path = to_float(self.gt.read(index)), self.gt.name(index)
            height, width = (side // self.opt['scale'] * self.opt['scale'] for side in image.shape[:2])
            image = image[:height, :width]
        return {'gt': img2tensor(image), 'gt_path': path}
