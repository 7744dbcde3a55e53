"""Measure a camera from unpaired HR and LR images: blur kernel, noise, tone and JPEG settings."""

import json
import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from usrdu_basicsr.data.exchanged_folders import exchange_warning
from usrdu_basicsr.data.kernel_set import write_kernel
from usrdu_basicsr.degradation.camera_estimator import BIN_CENTRES, CameraEstimator
from usrdu_basicsr.degradation.jpeg import JPEGSettings, source_settings
from usrdu_basicsr.degradation.noise import ROUNDING, Noise
from usrdu_basicsr.degradation.patch_spectra import patch_spectra
from usrdu_basicsr.kernelgan.kernel_files import contact_sheet
from usrdu_basicsr.ops.bootstrap import LEAST_IMAGES
from usrdu_basicsr.storage.open_source import open_source
from usrdu_basicsr.storage.source import IMAGE
from usrdu_basicsr.utils.files import output_folder, write_text
from usrdu_basicsr.utils.images import write_png

KERNEL_FOLDER = 'kernels'
RESAMPLINGS = 40  # of the bootstrap
MIN_RESAMPLINGS = 36  # for an interval; the others had no texture or no usable patches
FEW_IMAGES = 10
FLAT_PATCHES = 12  # that are shown
MIN_FLATNESS = 0.1
LOW_NOISE = 1.0  # gray levels
STRONG_NOISE = 15.0
MIN_FILES = 0.5  # share of JPEG files from which on a camera is taken to compress


@dataclass(frozen=True)
class Interval:
    """A number and its 95 % interval by the bootstrap over images, which is None if too few images are usable."""

    value: float
    low: float | None
    high: float | None

    def __str__(self) -> str:
        interval = 'no interval' if self.low is None else f'{self.low:.2f} to {self.high:.2f}'
        return f'{self.value:.2f} ({interval})'


@dataclass(frozen=True)
class Camera:
    """Measured degradation of a camera.

    Attributes:
        scale: Downsampling factor.
        images: Number of measured images of `lr` and `hr`.
        numbers: See docs/camera.md.
        kernel: `(8 * scale + 1, 8 * scale + 1)`, sum 1, for `ops.kernels.kernel_downsample`; None without HR images.
        noise: Noise of the LR images.
        power: Average power spectra of LR images and of bicubically downsampled HR images, `(P, P)` each.
        flat_patches: Flattest patches of the LR images, `(N, P, P, 3)` uint8, BGR.
        files: JPEG settings of the LR files.
        warnings: Sentences that say which numbers are unreliable.
    """

    scale: int
    images: dict[str, int]
    numbers: dict[str, Interval]
    kernel: np.ndarray | None
    noise: Noise
    power: list[Tensor]
    flat_patches: np.ndarray
    files: list[JPEGSettings]
    warnings: list[str]

    @property
    def jpeg(self) -> dict[str, int]:
        """Number of LR files by the label of their JPEG settings."""
        return dict(Counter(each.label for each in self.files).most_common())


def measure_camera(lr: str | Path, hr: str | Path | None, scale: int, images: int = 200, workers: int = 1) -> Camera:
    """Measure a camera from folders or LMDBs of images, which need not show the same scenes.

    Args:
        lr: Images of the camera.
        hr: HR images; None to measure noise and JPEG settings only.
        scale: Downsampling factor.
        images: Number of images of each folder that are measured, see `measured_indices`.
        workers: Number of reading threads.

    Raises:
        InputNotFoundError: If a folder does not exist.
        InputError: If a folder has no readable image that is large enough.
    """
    lr_source, hr_source = open_source(lr, IMAGE), None if hr is None else open_source(hr, IMAGE)
    lr_spectra = patch_spectra(lr_source, 1, images, workers)
    hr_spectra = None if hr_source is None else patch_spectra(hr_source, scale, images, workers)
    estimator = CameraEstimator(lr_spectra, hr_spectra, scale)
    estimate = estimator.estimate()
    resampled = [each.numbers() for each in estimator.bootstrap(RESAMPLINGS)]
    counts = {'lr': lr_spectra.images} | ({} if hr_spectra is None else {'hr': hr_spectra.images})
    numbers = {}
    for name, value in estimate.numbers().items():
        low, high = None, None
        values = [each[name] for each in resampled if name in each]
        if len(values) >= MIN_RESAMPLINGS and min(counts.values()) >= LEAST_IMAGES:
            low, high = np.quantile(values, (0.025, 0.975)).tolist()
        numbers[name] = Interval(value, low, high)
    warnings = list(_warnings(counts, estimate.noise, len(resampled)))
    if hr_source is not None and (warning := exchange_warning(hr_source, lr_source)):
        warnings.append(warning)
    files = source_settings(lr_source, images)
    if sum(each.quality > 0 for each in files) > MIN_FILES * len(files):
        warnings.append('The images are JPEG-compressed: the noise is that after compression, and the kernel is rough.')
    flat = estimator.noise.flattest(FLAT_PATCHES).permute(0, 2, 3, 1).flip(3).numpy()
    return Camera(scale, counts, numbers, estimate.kernel, estimate.noise, estimate.power, flat, files, warnings)


def _warnings(counts: dict[str, int], noise: Noise, resampled: int) -> Iterator[str]:
    for name, count in counts.items():
        if count < FEW_IMAGES:
            yield f'Only {count} {name.upper()} images: all numbers depend on their content.'
    if min(counts.values()) < LEAST_IMAGES:
        yield f'Fewer than {LEAST_IMAGES} images: there are no intervals.'
    elif resampled < MIN_RESAMPLINGS:
        yield 'Few images have texture and are not overexposed: there are no intervals.'
    level = float(noise.variance.mean().sqrt())
    if float(noise.variance.max()) < ROUNDING / 10:
        yield 'The flattest patches are constant (borders, overlays, drawings): noise outside of them was not measured.'
    if noise.flatness < MIN_FLATNESS and noise.is_white:
        yield 'Few flat patches: the noise level includes texture.'
    if not noise.is_white and noise.flatness < MIN_FLATNESS and level < LOW_NOISE:
        yield 'Weak noise and few flat patches: correlation of the noise cannot be told from texture.'
    if level > STRONG_NOISE:
        yield f'Noise of more than {STRONG_NOISE:.0f} gray levels: the kernel is rough.'
    if noise.curve.isnan().all():
        yield 'Few patches of similar brightness: the noise was not measured by brightness.'


def write_camera(output: str | Path, camera: Camera) -> None:
    """Write `camera.json`, and with HR images `kernels/camera.npy`, `kernels/camera.mat` and the image `kernel.png`.

    The folder `kernels` is a value of the option `train: kernels`. Without HR images the kernel of an earlier
    measurement is removed.

    Raises:
        InputError: If the output is a file.
        WriteError: If a file cannot be written.
    """
    output = output_folder(output)
    kernels = output / KERNEL_FOLDER
    if camera.kernel is not None:
        write_kernel(kernels, 'camera', camera.kernel)
        write_png(output / 'kernel.png', contact_sheet({'camera': camera.kernel.clip(0)}))
    else:
        for path in (kernels / 'camera.npy', kernels / 'camera.mat', output / 'kernel.png'):
            path.unlink(missing_ok=True)
    write_text(output / 'camera.json', json.dumps(_description(camera), indent=2, allow_nan=False) + '\n')


def _description(camera: Camera) -> dict[str, Any]:
    """Content of `camera.json`."""
    noise = camera.noise
    curve = [
        {'brightness': centre, 'noise': deviations}
        for centre, deviations in zip(BIN_CENTRES.tolist(), noise.curve.sqrt().tolist(), strict=True)
        if not math.isnan(deviations[0])
    ]
    return {
        'scale': camera.scale,
        'images': camera.images,
        'numbers': {name: asdict(number) for name, number in camera.numbers.items()},
        'noise_by_brightness': curve,
        'noise_autocorrelation': noise.autocorrelation.tolist(),
        'noise_color_correlation': noise.color_correlation.tolist(),
        'kernel': None if camera.kernel is None else camera.kernel.round(6).tolist(),
        'jpeg': camera.jpeg,
        'warnings': camera.warnings,
    }
