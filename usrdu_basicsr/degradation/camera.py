"""Measure a camera from unpaired HR and LR images: blur kernel, noise level and JPEG settings."""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from usrdu_basicsr.data.exchanged_folders import exchange_warning
from usrdu_basicsr.data.kernel_set import write_kernel
from usrdu_basicsr.degradation.camera_estimator import CameraEstimator, Estimate
from usrdu_basicsr.degradation.jpeg import jpeg_settings
from usrdu_basicsr.degradation.patch_spectra import patch_spectra
from usrdu_basicsr.kernelgan.kernel_files import contact_sheet
from usrdu_basicsr.storage.open_source import open_source
from usrdu_basicsr.storage.source import IMAGE, evenly_spaced
from usrdu_basicsr.utils.files import output_folder, write_text
from usrdu_basicsr.utils.images import write_png

KERNEL_FOLDER = 'kernels'
RESAMPLINGS = 40  # of the bootstrap
FEW_IMAGES = 10
WHITE = (0.8, 1.25)  # range of `Noise.colour`
MIN_FLATNESS = 0.3
STRONG_NOISE = 15.0  # gray levels


@dataclass(frozen=True)
class Interval:
    """A number and its 95 % interval by the bootstrap over images."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f'{self.value:.2f} ({self.low:.2f} to {self.high:.2f})'


@dataclass(frozen=True)
class Camera:
    """Measured degradation of a camera.

    Attributes:
        scale: Downsampling factor.
        images: Number of measured images of `lr` and `hr`.
        numbers: `noise_red`, `noise_green` and `noise_blue`, standard deviations in gray levels; with HR images also
            `blur_narrow` and `blur_wide`, standard deviations of the kernel along its axes in HR pixels.
        kernel: `(8 * scale + 1, 8 * scale + 1)`, sum 1, for `ops.kernels.kernel_downsample`; None without HR images.
        jpeg: Number of LR files by JPEG settings.
        warnings: Sentences that say which numbers are unreliable.
    """

    scale: int
    images: dict[str, int]
    numbers: dict[str, Interval]
    kernel: np.ndarray | None
    jpeg: dict[str, int]
    warnings: list[str]


def measure_camera(lr: str | Path, hr: str | Path | None, scale: int, images: int = 200, workers: int = 1) -> Camera:
    """Measure a camera from folders or LMDBs of images, which need not show the same scenes.

    Args:
        lr: Images of the camera.
        hr: HR images; None to measure noise and JPEG settings only.
        scale: Downsampling factor.
        images: Number of evenly spaced images of each folder that are measured, at most.
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
    numbers = {}
    for name, value in estimate.numbers().items():
        low, high = np.quantile([each[name] for each in resampled], (0.025, 0.975)).tolist()
        numbers[name] = Interval(value, low, high)
    counts = {'lr': lr_spectra.images} | ({} if hr_spectra is None else {'hr': hr_spectra.images})
    warnings = list(_warnings(counts, estimate))
    if hr_source is not None and (warning := exchange_warning(hr_source, lr_source)):
        warnings.append(warning)
    jpeg = jpeg_settings(map(lr_source.content, evenly_spaced(lr_source, images)))
    return Camera(scale, counts, numbers, estimate.kernel, dict(jpeg.most_common()), warnings)


def _warnings(counts: dict[str, int], estimate: Estimate) -> Iterator[str]:
    for name, count in counts.items():
        if count < FEW_IMAGES:
            yield f'Only {count} {name.upper()} images: all numbers depend on their content.'
    if estimate.noise.flatness < MIN_FLATNESS:
        yield 'Few flat patches: the noise level includes texture.'
    if not WHITE[0] < estimate.noise.colour < WHITE[1]:
        power = f'power at 0.3 to 0.4 cycles per pixel {estimate.noise.colour:.2f} times that above'
        yield f'The noise is not white ({power}), as after JPEG or denoising: its level and the kernel are rough.'
    if estimate.noise.variance.mean() > STRONG_NOISE**2:
        yield f'Noise of more than {STRONG_NOISE:.0f} gray levels: the kernel is rough.'


def write_camera(output: str | Path, camera: Camera) -> None:
    """Write `camera.json`, and with HR images `kernels/camera.npy`, `kernels/camera.mat` and the image `kernel.png`.

    The folder `kernels` is a value of the option `train: kernels`.

    Raises:
        InputError: If the output is a file.
        WriteError: If a file cannot be written.
    """
    output = output_folder(output)
    if camera.kernel is not None:
        write_kernel(output / KERNEL_FOLDER, 'camera', camera.kernel)
        write_png(output / 'kernel.png', contact_sheet({'camera': camera.kernel.clip(0)}))
    content = asdict(camera) | {'kernel': None if camera.kernel is None else camera.kernel.round(6).tolist()}
    write_text(output / 'camera.json', json.dumps(content, indent=2) + '\n')
