"""LR images by the degradation of Ji et al., "Real-World Super-Resolution via Kernel Estimation and Noise Injection".

(CVPR Workshops 2020, NTIRE 2020 winner.) HR images are downsampled with an estimated kernel, and get noise that is cut
from flat areas of camera images, without its mean. Small images have few flat areas: the flattest patches are taken
until their mean variance is that of the camera's noise. The kernel is that of `usrdu camera`, as KernelGAN, which the
paper uses, needs larger images than those of the simulated cameras.
"""

from pathlib import Path

import numpy as np
import torch
from basicsr.utils import img2tensor

from study_data import corners
from usrdu_basicsr.data.kernel_set import read_kernel_set
from usrdu_basicsr.degradation.noise import noise_of
from usrdu_basicsr.degradation.patch_spectra import patch_spectra
from usrdu_basicsr.inference.pixels import tensor_to_image
from usrdu_basicsr.ops.kernels import kernel_downsample
from usrdu_basicsr.storage.open_source import open_source
from usrdu_basicsr.storage.source import IMAGE
from usrdu_basicsr.utils.files import write_text
from usrdu_basicsr.utils.images import list_images, read_image, to_8bit, to_float, write_png

TILE = 12  # side of a noise patch, LR pixels


def write_impressionism(hr: Path, camera: Path, kernels: Path, output: Path, scale: int, seed: int) -> None:
    """Write LR images of HR sub-images, unless they exist.

    Args:
        hr: HR sub-images.
        camera: Camera images.
        kernels: Estimated kernels, one of which is drawn for each image.
        output: Folder of the LR images.
        scale: Downsampling factor.
        seed: Random seed.
    """
    complete = output.with_name('LR_complete')  # not in the folder, of which BasicSR reads every file
    if complete.exists():
        return
    rng = np.random.default_rng(seed)
    pool = noise_patches(camera)
    kernel_set = torch.from_numpy(read_kernel_set(kernels, 2**16))
    for path in list_images(hr):
        image = img2tensor(to_float(read_image(path)))[None]
        lr = 255 * kernel_downsample(image, kernel_set[rng.integers(len(kernel_set))][None], scale)
        height, width = lr.shape[2:]
        rows = [np.hstack(rng.choice(pool, -(-width // TILE))) for _ in range(-(-height // TILE))]
        noise = img2tensor(np.vstack(rows)[:height, :width])
        write_png(output / path.name, to_8bit(tensor_to_image((lr + noise) / 255)))
    write_text(complete, '')


def noise_patches(camera: Path) -> np.ndarray:
    """Flattest patches of images without their means, `(N, TILE, TILE, 3)` float32, gray levels."""
    images = [np.float32(255 * to_float(read_image(path))) for path in list_images(camera)]
    tiles = ((x, *corner) for x in images for corner in corners(x.shape, TILE))
    patches = np.stack([x[top : top + TILE, left : left + TILE] for x, top, left in tiles])
    variances = patches.var((1, 2)).mean(-1)
    order = variances.argsort()
    means = variances[order].cumsum() / np.arange(1, len(order) + 1)
    measured = noise_of(patch_spectra(open_source(camera, IMAGE), 1, len(images), 1), str(camera)).variance.mean()
    flat = patches[order[: max(1, int(np.searchsorted(means, float(measured))))]]
    return flat - flat.mean((1, 2), keepdims=True)
