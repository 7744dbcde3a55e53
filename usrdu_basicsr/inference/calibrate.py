"""Calibrate the samples of a DSN to the noise of a camera."""

from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from usrdu_basicsr.archs.camera_noise import QUALITIES, TAPS, CameraNoise
from usrdu_basicsr.degradation.jpeg import JPEGSettings, source_settings
from usrdu_basicsr.degradation.noise import ROUNDING, Noise, noise_of
from usrdu_basicsr.degradation.patch_spectra import PATCH, patch_spectra
from usrdu_basicsr.inference.load_network import DSN, build_dsn
from usrdu_basicsr.inference.samples import Samples
from usrdu_basicsr.ops.autocovariance import autocovariance_spectrum
from usrdu_basicsr.storage.open_source import open_source
from usrdu_basicsr.storage.source import IMAGE
from usrdu_basicsr.utils.checkpoint import write_checkpoint

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


def calibrate(dsn: DSN, hr: str | Path, lr: str | Path, images: int = 100) -> tuple[DSN, Calibration]:
    """Calibrate a DSN so that its samples have the noise of a camera.

    Samples of HR images and the LR images are measured in the same way. The log-scale by brightness, and the filter of
    correlated noise, are corrected until both agree. Samples are compressed with the JPEG qualities of the LR images.

    Args:
        dsn: Network on its device; it is not changed. An earlier calibration is replaced.
        hr: HR images, a folder or an LMDB.
        lr: Images of the camera.
        images: Number of images of each folder that are used, see `measured_indices`.

    Returns:
        Calibrated copy of the network, and the noises.

    Raises:
        InputNotFoundError: If a folder does not exist.
        InputError: If a folder has no readable image that is large enough, or only black and white patches.
    """
    source = open_source(lr, IMAGE)
    camera = noise_of(patch_spectra(source, 1, images, 1), f"'{source.root}'")
    files = source_settings(source, images)
    device = next(iter(dsn.state_dict().values())).device
    weights = {name: value for name, value in dsn.state_dict().items() if not name.startswith('camera_noise.')}
    noise, calibration = fit_noise(Samples(_network(weights).to(device), hr, images), camera, files)
    return with_noise(dsn, noise), calibration


def with_noise(dsn: DSN, noise: CameraNoise) -> DSN:
    """Copy of a DSN with another calibration, on the device of the DSN."""
    state = dsn.state_dict()
    state |= {f'camera_noise.{name}': value for name, value in noise.state_dict().items()}
    return _network(state).to(next(iter(state.values())).device)


def fit_noise(samples: Samples, camera: Noise, files: list[JPEGSettings]) -> tuple[CameraNoise, Calibration]:
    """Fit a calibration to the noise of a camera whose files have these JPEG settings.

    The samples must be those of a network without calibration.
    """
    name = f"'{samples.root}'"
    before = noise_of(samples.spectra(None), name)

    noise = CameraNoise()
    noise.weight.zero_()
    noise.jpeg.copy_(torch.bincount(torch.tensor([each.quality for each in files]), minlength=QUALITIES))
    noise.jpeg /= noise.jpeg.sum()
    color = camera.color_correlation.clone()
    noise.mix.copy_(_color_mix(color))
    target = (camera.variance - ROUNDING).clamp(min=MIN_VARIANCE)
    by_brightness = _filled(camera.curve) / camera.variance * target  # (KNOTS, 3)
    noise.offset.copy_((by_brightness / 2).log().T / 2)  # the variance of a Laplace distribution is 2 b²
    spectrum = autocovariance_spectrum(camera.autocorrelation, PATCH)
    noise.taps.copy_(_taps(spectrum))
    noise.prepare()
    is_filtered = not camera.is_white or noise.compresses
    results: list[tuple[float, Noise, dict[str, Tensor]]] = []
    for number in range(ROUNDS):
        got = noise_of(samples.spectra(noise), name)
        difference = max(camera.level_error(got), camera.correlation_error(got))
        results.append((difference, got, deepcopy(noise.state_dict())))
        step = target / (got.variance - ROUNDING).clamp(min=MIN_VARIANCE)
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
    _, after, state = min(results, key=lambda each: each[0])
    noise.load_state_dict(state)
    return noise, Calibration(camera, before, after)


def _network(weights: dict[str, Tensor]) -> DSN:
    """Network with these weights, without calibration unless they contain one."""
    network = build_dsn(weights)
    network.load_state_dict(weights, strict=False)
    return network.eval()


def save_dsn(dsn: DSN, path: str | Path) -> None:
    """Write a checkpoint, whose weights are also the averaged ones; a WriteError if it cannot be written."""
    weights = {name: value.cpu() for name, value in dsn.state_dict().items()}
    write_checkpoint(path, {'params': weights, 'params_ema': weights})


def _power(noise: Noise) -> Tensor:
    """Power spectrum of the noise relative to its variance, `(PATCH, PATCH)`."""
    return autocovariance_spectrum(noise.autocorrelation, PATCH) + MIN_POWER


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
