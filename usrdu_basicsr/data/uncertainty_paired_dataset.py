"""HR photos with their generated LR distribution, for stage 2."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from basicsr.data.transforms import augment, paired_random_crop
from basicsr.utils import img2tensor
from basicsr.utils.registry import DATASET_REGISTRY
from torch.utils.data import Dataset

from usrdu_basicsr.data.cropping import check_holds_crop, seed_worker_once
from usrdu_basicsr.data.generated_set import log_scale_path, log_scale_shape, read_description, read_log_scale
from usrdu_basicsr.errors import InputError
from usrdu_basicsr.images import image_size, list_images, read_image


@DATASET_REGISTRY.register()
class UncertaintyPairedDataset(Dataset):
    """HR photo, mean LR image and log-scales, cropped, flipped and turned together.

    Files belong together by their name without extension. An HR photo whose size is not a multiple of the scale is
    cropped to it at the right and the bottom, as the generator did.

    Items: `gt`, `(3, H, W)`, and `lq`, `(3, H / scale, W / scale)`, float32, RGB, [0, 1]; `log_scale`, as `lq`, natural
    logarithm of the Laplace scale in 8-bit units; `gt_path`, `lq_path`.

    Args:
        opt: `dataroot_gt`, `dataroot_lq`, `dataroot_log_scale`, folders; `scale`; for training `gt_size`, `use_hflip`,
            `use_rot`.

    Raises:
        InputNotFoundError: A folder, or the log-scales of an image, do not exist.
        InputError: A folder is empty; an HR photo has no LR image; sizes do not fit the scale; the set was generated at
            another scale; for training an image is smaller than `gt_size`.
    """

    options = frozenset(
        {'dataroot_gt', 'dataroot_lq', 'dataroot_log_scale', 'gt_size', 'use_hflip', 'use_rot', 'io_backend'}
    )

    def __init__(self, opt: Mapping[str, Any]) -> None:
        self.opt = opt
        self.training = opt['phase'] == 'train'
        self.scale = opt['scale']
        generated = Path(opt['dataroot_lq']).parent
        description = read_description(generated)
        if description is not None and description['scale'] != self.scale:
            raise InputError(
                f"generated set '{generated}' has scale {description['scale']}, the options say {self.scale}:"
                ' generate a set with a DSN of that scale'
            )
        lq_by_stem = {path.stem: path for path in list_images(opt['dataroot_lq'])}
        self.items = []
        for gt_path in list_images(opt['dataroot_gt']):
            if gt_path.stem not in lq_by_stem:
                raise InputError(
                    f"HR photo '{gt_path}' has no LR image in '{opt['dataroot_lq']}': run scripts/generate_lr.py again"
                )
            lq_path = lq_by_stem[gt_path.stem]
            expected = tuple(side // self.scale for side in image_size(gt_path))
            if image_size(lq_path) != expected:
                raise InputError(
                    f"LR image '{lq_path}' is {image_size(lq_path)} pixels (height, width), expected {expected}:"
                    f" 1/{self.scale} of '{gt_path}'; generate it again"
                )
            scale_path = log_scale_path(opt['dataroot_log_scale'], lq_path)
            if log_scale_shape(scale_path) != (*expected, 3):
                raise InputError(
                    f"log-scales '{scale_path}' have shape {log_scale_shape(scale_path)}, expected {(*expected, 3)}:"
                    ' generate the set again'
                )
            self.items.append((gt_path, lq_path, scale_path))
        if self.training:
            check_holds_crop([lq for _, lq, _ in self.items], opt['gt_size'] // self.scale, 'gt_size // scale')

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> dict[str, Any]:
        seed_worker_once()
        gt_path, lq_path, scale_path = self.items[index]
        lq = read_image(lq_path)
        # Images are BGR until img2tensor turns all three.
        log_scale = np.ascontiguousarray(read_log_scale(scale_path)[..., ::-1], np.float32)
        height, width = (side * self.scale for side in lq.shape[:2])
        gt = read_image(gt_path)[:height, :width]
        if self.training:
            gt, (lq, log_scale) = paired_random_crop(gt, [lq, log_scale], self.opt['gt_size'], self.scale, str(gt_path))
            gt, lq, log_scale = augment(
                [gt, lq, log_scale], self.opt.get('use_hflip', False), self.opt.get('use_rot', False)
            )
        gt, lq, log_scale = img2tensor([gt, lq, log_scale])
        return {'gt': gt, 'lq': lq, 'log_scale': log_scale, 'gt_path': str(gt_path), 'lq_path': str(lq_path)}
