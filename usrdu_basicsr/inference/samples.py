"""Measure the noise of samples of a DSN as that of LR images."""

import logging
from pathlib import Path

import torch
from torch import Tensor

from usrdu_basicsr.archs.camera_noise import CameraNoise, sample_lr
from usrdu_basicsr.degradation.patch_spectra import (
    CROP,
    PATCH,
    PatchSpectra,
    combine_spectra,
    image_spectra,
    measured_indices,
)
from usrdu_basicsr.inference.load_network import DSN
from usrdu_basicsr.inference.lr_sampler import LRSampler
from usrdu_basicsr.inference.pixels import tensor_to_image
from usrdu_basicsr.storage.open_source import open_source
from usrdu_basicsr.storage.source import IMAGE
from usrdu_basicsr.utils.errors import InputError
from usrdu_basicsr.utils.images import centre_crop, to_8bit, to_float

logger = logging.getLogger(__name__)


class Samples:
    """Samples of a DSN for HR images, whose noise is measured as that of LR images, as the difference from the mean.

    A trained DSN puts noise into its mean, too. It is not counted, because it is texture that the DSN amplifies: flat
    areas have none.

    Args:
        dsn: Network on its device.
        hr: HR images, a folder or an LMDB.
        images: Number of images, see `measured_indices`.

    Raises:
        InputError: If no image can be read and is large enough.
    """

    def __init__(self, dsn: DSN, hr: str | Path, images: int) -> None:
        sampler, source = LRSampler(dsn), open_source(hr, IMAGE)
        self.predictions: list[tuple[Tensor, Tensor]] = []
        for index in measured_indices(source, images, sampler.scale):
            try:
                image = to_float(source.read(index))
            except InputError as error:
                logger.warning('Image skipped: %s', error)
                continue
            if min(image.shape[:2]) < PATCH * sampler.scale:
                continue
            self.predictions.append(sampler.distribution(centre_crop(image, CROP * sampler.scale)))
        self.root = source.root

    def spectra(self, noise: CameraNoise | None) -> PatchSpectra:
        """Spectra of 8-bit samples with a calibration, which still has to be applied to the log-scale."""
        generator = torch.Generator().manual_seed(0)
        spectra = []
        for index, (mean, log_scale) in enumerate(self.predictions):
            scale = log_scale if noise is None else noise.log_scale(mean, log_scale)
            lr = to_8bit(tensor_to_image(sample_lr(mean, scale, noise, generator)))
            spectra.append(image_spectra(lr, index, noise_free=tensor_to_image(mean)))
        combined = combine_spectra(spectra)
        if combined is None:
            raise InputError(f"'{self.root}': got only images that are too small for a patch of {PATCH} LR pixels")
        return combined
