"""Calibrate the samples of a DSN to the noise of a camera."""

from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from basicsr.utils import img2tensor
from torch import Tensor

from usrdu_basicsr.archs.camera_noise import QUALITIES, TAPS, CameraNoise, sample_lr
from usrdu_basicsr.archs.dsn_arch import UncertaintyDSN
from usrdu_basicsr.degradation.jpeg import source_settings
from usrdu_basicsr.degradation.noise import Noise, NoiseEstimator
from usrdu_basicsr.degradation.patch_spectra import PATCH, PatchSpectra, combine_spectra, image_spectra, patch_spectra
from usrdu_basicsr.inference.load_network import dsn_options
from usrdu_basicsr.inference.lr_sampler import LRSampler
from usrdu_basicsr.ops.autocovariance import autocovariance_spectrum
from usrdu_basicsr.ops.linear_fit import apply_filter, fit_filter
from usrdu_basicsr.ops.resize import bicubic_downsample
from usrdu_basicsr.storage.open_source import open_source
from usrdu_basicsr.storage.source import IMAGE, evenly_spaced
from usrdu_basicsr.utils.errors import InputError
from usrdu_basicsr.utils.images import to_8bit, to_float

CROP = 1024  # largest side of the centre of an HR image, pixels
ROUNDS = 10
MAX_STEP = 4.0  # of a variance in a round
MIN_VARIANCE = 1e-3  # of the added noise, squared gray levels
MIN_POWER = 0.05  # at a frequency, relative to the mean; less is not distinguished
SMALL_TAP = 0.02  # relative to the largest; smaller ones are errors of the estimate


@dataclass(frozen=True)
class Calibration:
    """Noise of a camera, and of samples before and after calibration, measured in the same way."""

    camera: Noise
    before: Noise
    after: Noise


class Samples:
    """Samples of a DSN for HR images, whose noise is measured as that of LR images.

    Args:
        dsn: Network on its device.
        hr: HR images, a folder or an LMDB.
        images: Number of evenly spaced images that are used, at most.

    Raises:
        InputError: If no image can be read and is large enough.
    """

    def __init__(self, dsn: UncertaintyDSN, hr: str | Path, images: int) -> None:
        sampler, source = LRSampler(dsn), open_source(hr, IMAGE)
        self.predictions: list[list[Tensor]] = []
        bicubic = []
        for index in evenly_spaced(source, images):
            image = to_float(source.read(index))
            top, left = (max(side - CROP, 0) // 2 for side in image.shape[:2])
            image = image[top : top + CROP, left : left + CROP]
            self.predictions.append([torch.from_numpy(x).permute(2, 0, 1)[None] for x in sampler.predict(image)])
            height, width = (side * sampler.scale for side in self.predictions[-1][0].shape[2:])
            bicubic.append(bicubic_downsample(img2tensor(image[:height, :width])[None], sampler.scale))
        self.root = source.root
        # Noise is what is left of an image without any texture: its difference from a filtered bicubic image
        taps = fit_filter(zip(bicubic, (mean for mean, _ in self.predictions), strict=True))
        self.noise_free = [tensor_to_image(apply_filter(x, taps)) for x in bicubic]

    def spectra(self, noise: CameraNoise | None, with_noise: bool = True) -> PatchSpectra:
        """Spectra of 8-bit samples, or of the means, with a calibration whose log-scale is still to be applied."""
        generator = torch.Generator().manual_seed(0)
        spectra = []
        for index, (mean, log_scale) in enumerate(self.predictions):
            lr = mean
            if with_noise:
                scale = log_scale if noise is None else noise.log_scale(mean, log_scale)
                lr = sample_lr(mean, scale, noise, generator)
            spectra.append(image_spectra(to_8bit(tensor_to_image(lr)), index, noise_free=self.noise_free[index]))
        combined = combine_spectra(spectra)
        if combined is None:
            raise InputError(f"'{self.root}': got only images that are too small for a patch of {PATCH} LR pixels")
        return combined


def calibrate(
    dsn: UncertaintyDSN, hr: str | Path, lr: str | Path, keep_scale: bool = False, images: int = 100
) -> tuple[UncertaintyDSN, Calibration]:
    """Calibrate a DSN so that its samples have the noise of a camera.

    Samples of HR images and the LR images are measured in the same way. The log-scale by brightness, and the filter of
    correlated noise, are corrected until both agree. Samples are compressed with the JPEG qualities of the LR images.

    Args:
        dsn: Network on its device without a calibration.
        hr: HR images, a folder or an LMDB.
        lr: Images of the camera.
        keep_scale: Scale the noise that the DSN predicts for each pixel. Otherwise the noise depends on the brightness
            only, as measured.
        images: Number of evenly spaced images of each folder that are used, at most.

    Returns:
        Calibrated copy of the network, and the noises.

    Raises:
        InputNotFoundError: If a folder does not exist.
        InputError: If a folder has no readable image that is large enough, or only black and white patches.
    """
    source = open_source(lr, IMAGE)
    camera = _noise_of(patch_spectra(source, 1, images, 1), f"'{source.root}'")
    samples = Samples(dsn, hr, images)
    name = f"'{samples.root}'"
    floor = _noise_of(samples.spectra(None, with_noise=False), name)
    before = _noise_of(samples.spectra(None), name)

    noise = CameraNoise()
    noise.weight.fill_(float(keep_scale))
    settings = source_settings(source, images)
    noise.jpeg.copy_(torch.bincount(torch.tensor([each.quality for each in settings]), minlength=QUALITIES))
    noise.jpeg /= noise.jpeg.sum()
    color = camera.color_correlation.clone()
    noise.mix.copy_(_color_mix(color))
    target = (camera.variance - floor.variance).clamp(min=MIN_VARIANCE)
    by_brightness = _filled(camera.curve) / camera.variance * target  # (KNOTS, 3)
    if not keep_scale:
        noise.offset.copy_((by_brightness / 2).log().T / 2)  # the variance of a Laplace distribution is 2 b²
    spectrum = autocovariance_spectrum(camera.autocorrelation, PATCH)
    noise.taps.copy_(_taps(spectrum))
    noise.prepare()
    is_filtered = not camera.is_white or noise.compresses
    rounds: list[tuple[float, Noise, dict[str, Tensor]]] = []
    for number in range(ROUNDS):
        got = _noise_of(samples.spectra(noise), name)
        rounds.append((_difference(got, camera), got, deepcopy(noise.state_dict())))
        step = target / (got.variance - floor.variance).clamp(min=MIN_VARIANCE)
        noise.offset += step.clamp(1 / MAX_STEP, MAX_STEP).log()[:, None] / (2 if number < 2 else 4)
        if number < ROUNDS // 2:  # the shapes first, the levels until the end
            curve = _filled(camera.curve / got.curve).clamp(1 / MAX_STEP, MAX_STEP).log()
            noise.offset += (curve - curve.mean(0)).T / 4
            color += (camera.color_correlation - got.color_correlation) / 2
            noise.mix.copy_(_color_mix(color))
            if is_filtered:
                spectrum = spectrum * (_power(camera) / _power(got)).clamp(1 / MAX_STEP, MAX_STEP).sqrt()
                noise.taps.copy_(_taps(spectrum))
        noise.prepare()
    _, after, state = min(rounds, key=lambda each: each[0])
    calibrated = UncertaintyDSN(**dsn_options(dsn.state_dict()) | {'calibrated': True})
    calibrated.load_state_dict(dsn.state_dict() | {f'camera_noise.{key}': value for key, value in state.items()})
    return calibrated.to(next(dsn.parameters()).device).eval(), Calibration(camera, before, after)


def _difference(got: Noise, camera: Noise) -> float:
    """Largest error of a level or an autocorrelation."""
    levels = (got.variance.sqrt() - camera.variance.sqrt()).abs() / camera.variance.sqrt().clamp(min=1)
    return float(levels.max().maximum((got.autocorrelation - camera.autocorrelation).abs().max()))


def _power(noise: Noise) -> Tensor:
    """Power spectrum of the noise relative to its variance, `(PATCH, PATCH)`."""
    return autocovariance_spectrum(noise.autocorrelation, PATCH) + MIN_POWER


def tensor_to_image(x: Tensor) -> np.ndarray:
    """`(1, 3, H, W)` RGB to `(H, W, 3)` BGR."""
    return x[0].permute(1, 2, 0).flip(2).numpy()


def _noise_of(spectra: PatchSpectra, name: str) -> Noise:
    noise = NoiseEstimator(spectra)(torch.ones(spectra.images))
    if noise is None:
        raise InputError(f'{name}: got no patch that is neither black nor white, expected images of scenes')
    return noise


def _filled(curve: Tensor) -> Tensor:
    """Values by brightness, with missing ones interpolated and the outer ones repeated, `(KNOTS, 3)`."""
    missing = curve.isnan().any(1).numpy()
    if missing.all():
        return torch.ones_like(curve)
    knots, values = np.arange(len(curve)), curve.numpy()
    filled = [np.interp(knots, knots[~missing], values[~missing, channel]) for channel in range(3)]
    return torch.tensor(np.stack(filled, 1), dtype=curve.dtype).clamp(min=1e-4)


def _color_mix(correlation: Tensor) -> Tensor:
    """Symmetric square root of a correlation matrix, `(3, 3)`: channels as combinations of independent noises."""
    values, vectors = torch.linalg.eigh(correlation)
    root = vectors * values.clamp(min=0).sqrt() @ vectors.T
    return root / root.square().sum(1, keepdim=True).sqrt()


def _taps(spectrum: Tensor) -> Tensor:
    """Symmetric filter whose output on white noise has about this power spectrum, `(TAPS, TAPS)`."""
    full = torch.fft.fftshift(torch.fft.ifft2(spectrum.clamp(min=0).sqrt()).real)
    middle, margin = len(full) // 2, TAPS // 2
    taps = full[middle - margin : middle + margin + 1, middle - margin : middle + margin + 1].clone()
    taps[taps.abs() < SMALL_TAP * taps.abs().max()] = 0
    return taps / taps.square().sum().sqrt()
