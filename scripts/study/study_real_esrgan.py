"""LR images by the random second-order degradation of Real-ESRGAN, computed by BasicSR's own code.

The ranges are those of Real-ESRGAN's options/train_realesrnet_x4plus.yml. HR images are not sharpened (`gt_usm`), which
would lower the PSNR.
"""

import random
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
from basicsr.data.realesrgan_dataset import RealESRGANDataset
from basicsr.models.realesrnet_model import RealESRNetModel
from basicsr.utils import DiffJPEG
from torch.utils.data import default_collate

from study_data import corners
from usrdu_basicsr.inference.pixels import tensor_to_image
from usrdu_basicsr.utils.files import write_text
from usrdu_basicsr.utils.images import list_images, read_image, to_8bit, write_png

KERNELS = {
    'iso': 0.45,
    'aniso': 0.25,
    'generalized_iso': 0.12,
    'generalized_aniso': 0.03,
    'plateau_iso': 0.12,
    'plateau_aniso': 0.03,
}
BLUR = {'blur_kernel_size': 21, 'sinc_prob': 0.1, 'betag_range': [0.5, 4], 'betap_range': [1, 2]}
BLUR |= {'kernel_list': list(KERNELS), 'kernel_prob': list(KERNELS.values())}
DATASET = {
    **BLUR,
    **{f'{name}2': value for name, value in BLUR.items()},
    'blur_sigma': [0.2, 3],
    'blur_sigma2': [0.2, 1.5],
    'final_sinc_prob': 0.8,
    'use_hflip': False,
    'use_rot': False,
}
DEGRADATION = {
    'gt_usm': False,
    'resize_prob': [0.2, 0.7, 0.1],
    'resize_range': [0.15, 1.5],
    'gaussian_noise_prob': 0.5,
    'noise_range': [1, 30],
    'poisson_scale_range': [0.05, 3],
    'gray_noise_prob': 0.4,
    'jpeg_range': [30, 95],
    'second_blur_prob': 0.8,
    'resize_prob2': [0.3, 0.4, 0.3],
    'resize_range2': [0.3, 1.2],
    'gaussian_noise_prob2': 0.5,
    'noise_range2': [1, 25],
    'poisson_scale_range2': [0.05, 2.5],
    'gray_noise_prob2': 0.4,
    'jpeg_range2': [30, 95],
}


def write_real_esrgan(images: Path, output: Path, scale: int, side: int, seed: int) -> None:
    """Write pairs of HR crops and degraded LR images, unless they exist.

    Of each image there are as many crops as sub-images of other methods, each with another degradation.

    Args:
        images: HR images.
        output: Folder that gets `HR` and `LR`.
        scale: Downsampling factor.
        side: Side of the HR crops.
        seed: Random seed.
    """
    if (output / 'complete').exists():
        return
    paths = list_images(images)
    write_text(output / 'meta_info.txt', ''.join(f'{path.name}\n' for path in paths))
    files = {'dataroot_gt': str(images), 'meta_info': str(output / 'meta_info.txt'), 'io_backend': {'type': 'disk'}}
    dataset = RealESRGANDataset(DATASET | files)
    model = SimpleNamespace(
        opt=DEGRADATION | {'scale': scale, 'gt_size': side},
        is_train=True,
        device=torch.device('cpu'),
        jpeger=DiffJPEG(differentiable=False),
        usm_sharpener=None,
        _dequeue_and_enqueue=lambda: None,
    )
    for set_seed in (random.seed, np.random.seed, torch.manual_seed):
        set_seed(seed)
    for index, path in enumerate(paths):
        for number, _ in enumerate(corners(read_image(path).shape, side)):
            RealESRNetModel.feed_data(model, default_collate([dataset[index]]))
            for folder, image in (('HR', model.gt), ('LR', model.lq)):
                write_png(output / folder / f'{path.stem}_{number}.png', to_8bit(tensor_to_image(image)))
    write_text(output / 'complete', '')
