"""Find exchanged folders of HR and camera images by their noise and sharpness."""

from dataclasses import dataclass
from pathlib import Path
from statistics import median

from basicsr.utils import img2tensor
from torch import Tensor

from usrdu_basicsr.ops.noise import noise_level
from usrdu_basicsr.storage.source import Source, evenly_spaced
from usrdu_basicsr.utils.errors import InputError
from usrdu_basicsr.utils.images import centre_crop, to_float

IMAGES = 8  # of each folder
CROP = 1024  # largest side of the centre that is measured, pixels
MIN_NOISE = 3.0  # of HR images, gray levels
MIN_NOISE_RATIO = 1.5  # of HR images and of camera images
MIN_SHARPNESS_RATIO = 1.5  # of camera images and of HR images
FAR = 4  # pixels


@dataclass(frozen=True)
class FolderQuality:
    """Medians of evenly spaced images of a folder, 0 if none can be read.

    Attributes:
        root: The folder.
        noise: Noise level, gray levels.
        sharpness: See `sharpness`.
        pixels: Pixels of an image.
    """

    root: Path
    noise: float
    sharpness: float
    pixels: float


def folder_quality(source: Source) -> FolderQuality:
    """Measure few images of a folder; unreadable ones are ignored."""
    found = []
    for index in evenly_spaced(source, IMAGES):
        try:
            image = source.read(index)
        except InputError:
            continue
        x = img2tensor(to_float(centre_crop(image, CROP)))[None]
        if min(x.shape[2:]) > FAR:
            noise = float(noise_level(x))
            found.append((255 * noise, sharpness(x, noise), image.shape[0] * image.shape[1]))
    noise, sharp, pixels = (median(values) for values in zip(*found, strict=True)) if found else (0.0, 0.0, 0.0)
    return FolderQuality(source.root, noise, sharp, pixels)


def sharpness(x: Tensor, noise: float) -> float:
    """Mean square of second differences of neighbours, relative to that of differences of pixels four apart.

    White noise of the standard deviation `noise` is subtracted. It is 0 for linear gradients and 0 if there is only
    noise.

    Args:
        x: `(1, C, H, W)`.
        noise: In the units of `x`.
    """
    second = far = 0.0
    for dim in (2, 3):
        length = x.shape[dim]
        second += float(x.diff(n=2, dim=dim).square().mean()) - 6 * noise**2
        far += float((x.narrow(dim, FAR, length - FAR) - x.narrow(dim, 0, length - FAR)).square().mean()) - 2 * noise**2
    return max(second, 0.0) / far if far > 0 else 0.0


def noise_warning(hr: FolderQuality, lr: FolderQuality) -> str:
    """Warning if HR images are much noisier than camera images, otherwise an empty text."""
    if not hr.noise > max(MIN_NOISE, MIN_NOISE_RATIO * lr.noise):
        return ''
    return (
        f"HR images have a noise level of {hr.noise:.1f} gray levels, camera images of {lr.noise:.1f}: '{hr.root}' and"
        f" '{lr.root}' may be exchanged."
    )


def sharpness_warning(hr: FolderQuality, lr: FolderQuality) -> str:
    """Warning if camera images are neither smaller nor less sharp than HR images, otherwise an empty text.

    Smaller images may be sharper in each pixel, as those of a good camera are that are downsampled.
    """
    if lr.pixels < hr.pixels or not lr.sharpness > MIN_SHARPNESS_RATIO * hr.sharpness:
        return ''
    return (
        f"Camera images are sharper than HR images, and not smaller: '{hr.root}' and '{lr.root}' may be exchanged, or"
        ' the HR images are blurred.'
    )


def exchange_warning(gt: Source, lq: Source) -> str:
    """Return a warning if the folders of HR and camera images may be exchanged, otherwise an empty text."""
    hr, lr = folder_quality(gt), folder_quality(lq)
    return noise_warning(hr, lr) or sharpness_warning(hr, lr)
