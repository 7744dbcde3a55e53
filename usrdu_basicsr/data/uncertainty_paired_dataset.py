"""HR images with generated LR images and log-scale maps, for stage 2."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from basicsr.data.transforms import augment, paired_random_crop
from basicsr.utils import img2tensor
from basicsr.utils.registry import DATASET_REGISTRY
from torch.utils.data import Dataset

from usrdu_basicsr.data.bad_image_policy import BadImagePolicy, check_patch_fits
from usrdu_basicsr.options.schema.dataset_options import PatchOptions, PolicyOptions, UncertaintyPairedOptions
from usrdu_basicsr.storage.generated_set import check_generated_scale
from usrdu_basicsr.storage.open_source import open_source
from usrdu_basicsr.storage.pairs import check_lr_size, partner_indices
from usrdu_basicsr.storage.source import IMAGE, LOG_SCALE
from usrdu_basicsr.utils.errors import InputError
from usrdu_basicsr.utils.images import to_float


@DATASET_REGISTRY.register()
class UncertaintyPairedDataset(Dataset):
    """HR image, mean LR image and log-scale map, cropped and augmented together.

    Files are matched by name without extension. The right and bottom rest of an HR image whose size is not a multiple
    of the scale is cropped, as in generation.

    Items: `gt`, `(3, H, W)`, and `lq`, `(3, H / scale, W / scale)`, float32, RGB, [0, 1]; `log_scale`, as `lq`, natural
    logarithm of the Laplace scale in 8-bit units; `gt_path`, `lq_path`.

    Args:
        opt: `dataroot_gt`, `dataroot_lq`, `dataroot_log_scale`, each a folder or an LMDB; `meta_info_file`, an optional
            list of the HR images to use; `scale`; for training `gt_size`, `use_hflip`, `use_rot`, `on_bad_image`
            (`stop` or `skip`).

    Raises:
        InputNotFoundError: If a folder or LMDB does not exist.
        InputError: If one is empty; an HR image has no LR image or log-scale map; sizes do not fit the scale; the set
            was generated at another scale; or, for training, an image is smaller than `gt_size`.
    """

    def __init__(self, opt: Mapping[str, Any]) -> None:
        self.opt = opt
        self.training = opt['phase'] == 'train'
        self.scale = opt['scale']
        images = UncertaintyPairedOptions.from_options(opt)
        self.gt = open_source(images.dataroot_gt, IMAGE, images.meta_info_file)
        self.lq = open_source(images.dataroot_lq, IMAGE)
        self.log_scale = open_source(images.dataroot_log_scale, LOG_SCALE)
        if self.training:
            self.patches = PatchOptions.from_options(opt)
        check_generated_scale(self.lq.root.parent, self.scale)
        try:
            self.lq_index, self.log_scale_index = (partner_indices(self.gt, s) for s in (self.lq, self.log_scale))
        except InputError as error:
            raise InputError(f'{error}. Run usrdu generate again') from error
        self.policy = BadImagePolicy(len(self.gt), PolicyOptions.from_options(opt).on_bad_image)
        self.policy.check(self._check_stored_sizes)

    def _check_stored_sizes(self, index: int) -> None:
        lq, log_scale = self.lq_index[index], self.log_scale_index[index]
        self._check_sizes(index, self.gt.size(index), self.lq.size(lq), self.log_scale.size(log_scale))

    def _check_sizes(self, index: int, gt: tuple[int, int], lq: tuple[int, int], log_scale: tuple[int, int]) -> None:
        lq_name, log_scale_name = self.lq.name(self.lq_index[index]), self.log_scale.name(self.log_scale_index[index])
        for name, size in ((lq_name, lq), (log_scale_name, log_scale)):
            check_lr_size(name, size, self.gt.name(index), gt, self.scale)
        if self.training:
            check_patch_fits(lq, self.patches.gt_size // self.scale, 'gt_size // scale', lq_name)

    def __len__(self) -> int:
        return len(self.gt)

    def _read(self, index: int) -> tuple[list[np.ndarray], str, str]:
        """HR image, LR image (both in the bit depth of their files) and log-scale map, and the paths of the images."""
        lq_index, log_scale_index = self.lq_index[index], self.log_scale_index[index]
        gt, lq, log_scale = self.gt.read(index), self.lq.read(lq_index), self.log_scale.read(log_scale_index)
        self._check_sizes(index, gt.shape[:2], lq.shape[:2], log_scale.shape[:2])
        gt = gt[: lq.shape[0] * self.scale, : lq.shape[1] * self.scale]
        # log-scale maps become BGR as well, because img2tensor converts all three to RGB
        return [gt, lq, log_scale[..., ::-1]], self.gt.name(index), self.lq.name(lq_index)

    def __getitem__(self, index: int) -> dict[str, Any]:
        (gt, lq, log_scale), gt_path, lq_path = self.policy.read(index, self._read)
        if self.training:
            gt, (lq, log_scale) = paired_random_crop(gt, [lq, log_scale], self.patches.gt_size, self.scale, gt_path)
        # converted to floating point after cropping, which is faster
        images = [to_float(gt), to_float(lq), np.ascontiguousarray(log_scale, np.float32)]
        if self.training:
            images = augment(images, self.patches.use_hflip, self.patches.use_rot)
        gt, lq, log_scale = img2tensor(images)
        return {'gt': gt, 'lq': lq, 'log_scale': log_scale, 'gt_path': gt_path, 'lq_path': lq_path}
