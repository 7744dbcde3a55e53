"""Blur kernel of a camera from average power spectra of unrelated HR and LR images.

The square root of the ratio of the average power spectra of LR images, without the noise, and of bicubically
downsampled HR images is the transfer function of the camera relative to bicubic downsampling. Its inverse Fourier
transform is a symmetric kernel for LR images. Spectra of natural images are alike on average, so the images need not
show the same scenes.
"""

from functools import cache

import numpy as np
import torch
from scipy.signal import convolve2d
from torch import Tensor

from usrdu_basicsr.ops.resize import bicubic_downsample
from usrdu_basicsr.ops.spectrum import frequency_radius
from usrdu_basicsr.utils.errors import InputError

LR_TAPS = 11
MAX_GAIN = 1.5  # of a camera that sharpens
EQUAL_BAND = (0.03, 0.08)  # cycles per LR pixel at which no camera blurs; images of different contrast are scaled
MIN_TEXTURE = 1.0  # squared gray levels, power at these frequencies; images of scenes have hundreds
NOISE_TOLERANCE = 0.02  # relative error of the noise; at frequencies with less signal the camera is taken to blur more


def check_texture(name: str, power: Tensor, noise: Tensor) -> None:
    """Raise an InputError if the images `name` have too little texture for a kernel.

    Args:
        name: `LR` or `HR`.
        power: Average power spectrum, `(P, P)`.
        noise: Power spectrum of the noise, `(P, P)`.
    """
    equal = equal_band(len(power))
    texture, level = float((power - noise)[equal].mean()), float(noise[equal].mean())
    if texture >= max(MIN_TEXTURE, level):
        return
    if level < MIN_TEXTURE:
        raise InputError(f'{name} images: got no texture, expected images of scenes. Add images')
    raise InputError(
        f'{name} images: got noise that is stronger than the texture, expected images whose scenes are visible. Add'
        ' images with less noise'
    )


def lr_kernel(lr_power: Tensor, noise: Tensor, hr_power: Tensor) -> np.ndarray | None:
    """Kernel that turns bicubically downsampled images into those of the camera.

    Args:
        lr_power: Average power spectrum of LR images, `(P, P)`.
        noise: Power spectrum of their noise, `(P, P)`.
        hr_power: Average power spectrum of bicubically downsampled HR images, `(P, P)`.

    Returns:
        `(LR_TAPS, LR_TAPS)` float64, sum 1; None if the LR images have more noise than texture.
    """
    signal = (lr_power - noise).clamp(min=0)
    signal = signal**3 / (signal**2 + (NOISE_TOLERANCE * noise) ** 2).clamp(min=1e-12)
    ratio = signal / hr_power
    contrast = ratio[equal_band(len(ratio))].mean()
    if not contrast > 0:
        return None
    transfer = (ratio / contrast).sqrt().clamp(max=MAX_GAIN)
    transfer[0, 0] = 1
    kernel = torch.fft.fftshift(torch.fft.ifft2(transfer).real).double().numpy()
    middle, margin = len(kernel) // 2, LR_TAPS // 2
    kernel = kernel[middle - margin : middle + margin + 1, middle - margin : middle + margin + 1]
    taper = np.hanning(LR_TAPS + 2)[1:-1] ** 0.25
    kernel = kernel * np.outer(taper, taper)
    return kernel / kernel.sum()


def equal_band(size: int) -> Tensor:
    """Mask `(size, size)` of the frequencies at which no camera blurs."""
    radius = frequency_radius(size)
    return (radius > EQUAL_BAND[0]) & (radius < EQUAL_BAND[1])


def hr_kernel(kernel: np.ndarray, scale: int) -> np.ndarray:
    """Kernel that downsamples HR images by `scale` as bicubic downsampling followed by a kernel for LR images.

    Args:
        kernel: Kernel for LR images, `(n, n)` with odd n.
        scale: Downsampling factor.

    Returns:
        `(8 * scale + 1, 8 * scale + 1)`, sum 1, for `ops.kernels.kernel_downsample`.
    """
    taps, offset = _bicubic_taps(scale)
    spread = np.zeros(((len(kernel) - 1) * scale + 1,) * 2)
    spread[::scale, ::scale] = kernel
    full = convolve2d(spread, np.outer(taps, taps))
    half = 4 * scale
    start = offset + len(kernel) // 2 * scale - half  # the middle tap is aligned with the first pixel of a block
    padded = np.pad(full, half)[start + half :, start + half :]
    result = padded[: 2 * half + 1, : 2 * half + 1]
    return result / result.sum()


@cache
def _bicubic_taps(scale: int) -> tuple[np.ndarray, int]:
    """Taps of bicubic downsampling along one axis, and the tap of the first of the `scale` pixels of an LR pixel."""
    middle = 6
    impulses = torch.eye(13 * scale, dtype=torch.float64)[:, None, None].expand(-1, -1, scale, -1)
    response = bicubic_downsample(impulses, scale)[:, 0, 0, middle].numpy()
    (support,) = response.nonzero()
    return response[support[0] : support[-1] + 1], middle * scale - int(support[0])
