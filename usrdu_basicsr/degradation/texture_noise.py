"""Noise in textured areas, from the average power spectra of unrelated HR and LR images.

The transfer function of an optical blur falls smoothly. LR images often have more power at high frequencies than this
curve and the noise of flat areas explain: processing in the camera, compression, and noise that grows with contrast. It
is no function of the HR image that a kernel can express. An SR network that is trained on LR images without it inverts
the blur too strongly.
"""

import torch
from torch import Tensor

from usrdu_basicsr.ops.spectrum import frequency_radius

# Frequencies in cycles per pixel
FITTED = (0.05, 0.33)  # those of the smooth transfer function
UPPER = 0.4  # lowest frequency of the unexplained power
MIN_SIGNAL = 0.2  # power without the noise, relative to it, of frequencies that are fitted
MIN_FITTED = 30  # number of frequencies
TOLERANCE = 0.15  # error of the noise; less unexplained power, relative to the noise, is not significant


def unexplained_power(lr_power: Tensor, noise: Tensor, hr_power: Tensor) -> float:
    """Power at high frequencies that neither noise nor a smooth blur explains.

    The logarithm of the transfer function is a quadratic form of the frequency, a Gaussian blur in any direction, plus
    a term of the fourth order, which sharpening needs.

    Args:
        lr_power: Average power spectrum of LR images, `(P, P)`, squared gray levels.
        noise: That of their noise, averaged over all patches.
        hr_power: That of bicubically downsampled HR images.

    Returns:
        Mean power above 0.4 cycles per pixel; 0 if it is not significant, or the noise covers the signal.
    """
    radius = frequency_radius(len(lr_power))
    signal = lr_power - noise
    frequency = torch.fft.fftfreq(len(lr_power))
    y, x = torch.meshgrid(frequency, frequency, indexing='ij')
    design = torch.stack([torch.ones_like(radius), x**2, y**2, x * y, radius**4], -1)
    used = (radius > FITTED[0]) & (radius < FITTED[1]) & (signal > MIN_SIGNAL * noise)
    if int(used.sum()) < MIN_FITTED:
        return 0.0
    target = (signal[used] / hr_power[used]).log()
    terms = 5 if _fit(design[used], target)[4] < 0 else 4  # the transfer function must not rise
    transfer = (design[..., :terms] @ _fit(design[used][:, :terms], target)).exp()
    upper = radius > UPPER
    excess = float((signal - transfer * hr_power)[upper].mean())
    return excess if excess > TOLERANCE * float(noise[upper].mean()) else 0.0


def _fit(design: Tensor, target: Tensor) -> Tensor:
    return torch.linalg.lstsq(design.double(), target.double()[:, None]).solution[:, 0].float()
