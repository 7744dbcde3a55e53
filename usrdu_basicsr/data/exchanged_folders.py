"""Find exchanged folders of HR and camera images by their noise."""

from statistics import median

from basicsr.utils import img2tensor

from usrdu_basicsr.ops.noise import noise_level
from usrdu_basicsr.storage.source import Source, evenly_spaced
from usrdu_basicsr.utils.errors import InputError
from usrdu_basicsr.utils.images import centre_crop, to_float

IMAGES = 8  # of each folder
CROP = 1024  # largest side of the centre that is measured, pixels
MIN_NOISE = 3.0  # of HR images, gray levels
MIN_RATIO = 1.5  # of the noise of HR images and of camera images


def exchange_warning(gt: Source, lq: Source) -> str:
    """Return a warning if HR images are much noisier than camera images, otherwise an empty text.

    Few images of each folder are read; unreadable ones are ignored. Folders of a camera without noise, which only
    blurs, are not distinguished.
    """
    gt_noise, lq_noise = _noise(gt), _noise(lq)
    if not gt_noise > max(MIN_NOISE, MIN_RATIO * lq_noise):
        return ''
    return (
        f"HR images have a noise level of {gt_noise:.1f} gray levels, camera images of {lq_noise:.1f}: '{gt.root}' and"
        f" '{lq.root}' may be exchanged."
    )


def _noise(source: Source) -> float:
    """Median noise level of evenly spaced images, gray levels."""
    levels = []
    for index in evenly_spaced(source, IMAGES):
        try:
            image = source.read(index)
        except InputError:
            continue
        x = img2tensor(to_float(centre_crop(image, CROP)))[None]
        if min(x.shape[2:]) > 1:
            levels.append(255 * float(noise_level(x)))
    return median(levels) if levels else 0.0
