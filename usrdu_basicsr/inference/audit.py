"""Audit a generated set: does it match the images of the camera?"""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from basicsr.utils import img2tensor
from torch import Tensor

from usrdu_basicsr.archs.camera_noise import CameraNoise, sample_lr
from usrdu_basicsr.degradation.fidelity import Fidelity, compare
from usrdu_basicsr.degradation.patch_spectra import combine_spectra, image_spectra, measured_indices, patch_spectra
from usrdu_basicsr.inference.pixels import tensor_to_image
from usrdu_basicsr.ops.patches import round_to_8bit
from usrdu_basicsr.ops.resize import bicubic_downsample
from usrdu_basicsr.storage.generated_set import (
    DESCRIPTION,
    LOG_SCALE_FOLDER,
    LR_FOLDER,
    generated_noise,
    read_description,
)
from usrdu_basicsr.storage.open_source import open_source
from usrdu_basicsr.storage.pairs import partner_indices
from usrdu_basicsr.storage.source import IMAGE, LOG_SCALE, Source
from usrdu_basicsr.utils.errors import InputError
from usrdu_basicsr.utils.images import to_float


def audit(lr: str | Path, generated: str | Path, hr: str | Path | None = None, images: int = 200) -> Fidelity:
    """Compare LR images that are sampled from a generated set with those of the camera.

    Args:
        lr: Images of the camera, a folder or an LMDB.
        generated: Generated set, or a folder or an LMDB of LR images of any other origin, which are used as they are.
        hr: HR images of the generated ones, with their names, for the shift of colours.
        images: Number of images that are compared, see `measured_indices`.

    Raises:
        InputNotFoundError: If a folder does not exist.
        InputError: If one has no readable image that is large enough, an image is unusable, or the set is incomplete.
    """
    real = patch_spectra(open_source(lr, IMAGE), 1, images, 1)
    folder = Path(generated).expanduser()
    if folder.stem == LR_FOLDER and (folder.parent / DESCRIPTION).is_file():
        raise InputError(f"--generated: got the means '{folder}' of a set, expected the set. Pass '{folder.parent}'")
    description = read_description(folder) if folder.is_dir() else None
    source = open_source(folder if description is None else folder / LR_FOLDER, IMAGE)
    noise = None if description is None else generated_noise(folder)
    sampler = None if noise is None else CameraNoise.from_description(noise)
    read_log_scale = (
        None if description is None else _partner(source, open_source(folder / LOG_SCALE_FOLDER, LOG_SCALE))
    )
    read_hr = None if hr is None else _partner(source, open_source(hr, IMAGE))
    generator = torch.Generator().manual_seed(0)
    spectra, shifts = [], []
    for index in measured_indices(source, images):
        lr_image, noise_free = img2tensor(to_float(source.read(index)))[None], None
        if read_hr is not None:
            bicubic = _bicubic(read_hr(index), lr_image.shape[2:], source.name(index))
            shifts.append(255 * (lr_image - bicubic).mean((0, 2, 3)))
        if read_log_scale is not None:
            noise_free = tensor_to_image(lr_image)
            log_scale = img2tensor(np.float32(read_log_scale(index)), bgr2rgb=False)[None]
            lr_image = round_to_8bit(sample_lr(lr_image, log_scale, sampler, generator))
        spectra.append(image_spectra(tensor_to_image(lr_image), index, noise_free=noise_free))
    combined = combine_spectra(spectra)
    if combined is None:
        raise InputError(f"'{source.root}': got only images that are too small. Generate them from larger HR images")
    return compare(real, combined, float(torch.stack(shifts).mean(0).abs().max()) if shifts else None)


def _partner(source: Source, other: Source) -> Callable[[int], np.ndarray]:
    """Function that reads the file of `other` that belongs to a file of `source`, by its index."""
    partners = partner_indices(source, other)
    return lambda index: other.read(partners[index])


def _bicubic(hr: np.ndarray, size: Sequence[int], name: str) -> Tensor:
    """Bicubically downsampled HR image of the size `(height, width)` of an LR image, `(1, 3, height, width)`."""
    height, width = size
    scale = hr.shape[0] // height
    if scale < 1 or hr.shape[1] // width != scale:
        expected = f"a fraction of HR's {hr.shape[0]}x{hr.shape[1]}"
        raise InputError(f"generated image '{name}': got {height}x{width} pixels, expected {expected}")
    return bicubic_downsample(img2tensor(to_float(hr)[: height * scale, : width * scale])[None], scale)
