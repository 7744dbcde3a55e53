"""Fidelity of the LR images that stage 1 generates in a validation, over all of its images."""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from basicsr.utils import get_root_logger
from torch import Tensor

from usrdu_basicsr.archs.camera_noise import CameraNoise, sample_lr
from usrdu_basicsr.archs.dsn_arch import DSNOutput
from usrdu_basicsr.degradation.fidelity import compare
from usrdu_basicsr.degradation.noise import UNUSABLE
from usrdu_basicsr.degradation.patch_spectra import CROP, ImageSpectra, combine_spectra, image_spectra
from usrdu_basicsr.inference.pixels import tensor_to_image
from usrdu_basicsr.utils.images import centre_crop, to_8bit

IMAGES = 100  # of a validation that are compared, at most; one takes 1.6 MB until the end of the validation


@dataclass(frozen=True)
class ImageComparison:
    """What the comparison needs of an image.

    Attributes:
        real: Spectra of the real LR image; None if it is too small.
        generated: Spectra of a sample; None if it is too small.
        change: Mean of the generated mean minus the bicubically downsampled HR image, `(3,)` RGB, gray levels.
        squared_change: Mean of its square, `(3,)`.
    """

    real: ImageSpectra | None
    generated: ImageSpectra | None
    change: Tensor
    squared_change: Tensor


def compare_image(
    output: DSNOutput, noise: CameraNoise | None, bicubic: Tensor, real: Tensor, index: int
) -> ImageComparison:
    """Compare a sample with the real LR image.

    Args:
        output: Prediction for an HR image, `(1, 3, H, W)`, on the CPU.
        noise: Calibration of the network, if any.
        bicubic: HR image, bicubically downsampled, same shape.
        real: Real LR image, `(1, 3, h, w)`; its scene may be another one.
        index: Index of the image, the random seed of the sample.
    """
    sample = sample_lr(output.mean, output.log_scale, noise, torch.Generator().manual_seed(index))
    spectra = [image_spectra(to_8bit(centre_crop(tensor_to_image(each), CROP)), index) for each in (real, sample)]
    change = 255 * (output.mean - bicubic)
    return ImageComparison(spectra[0], spectra[1], change.mean((0, 2, 3)), change.square().mean((0, 2, 3)))


def fidelity_metrics(images: Iterable[ImageComparison]) -> dict[str, float]:
    """Numbers of the audit by name, `fidelity_*`; known failures are logged as warnings in words.

    They are empty if the images are too small, or generated ones are non-finite, black or white.
    """
    images, numbers = list(images), dict[str, float]()
    if not images:
        return numbers
    change = torch.stack([image.change for image in images]).mean(0)
    squared_change = torch.stack([image.squared_change for image in images]).mean(0)
    real, generated = (combine_spectra(getattr(image, kind) for image in images) for kind in ('real', 'generated'))
    if not squared_change.isfinite().all():
        warnings = ['Generated images have non-finite values.']
    elif real is None or generated is None or (real.clipped > UNUSABLE).all():
        return numbers
    elif (generated.clipped > UNUSABLE).all():
        warnings = ['Generated images are black or white.']
    else:
        fidelity = compare(real, generated, float(change.abs().max()), float(squared_change.mean().sqrt()))
        warnings = list(fidelity.findings())
        numbers = {f'fidelity_{name}': value for name, value in fidelity.numbers().items()}
    for warning in warnings:
        get_root_logger().warning(f'Stage 1: {warning}')
    return numbers
