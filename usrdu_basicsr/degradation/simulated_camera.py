"""Simulated cameras with known parameters, for tests and benchmarks."""

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
import torch

from usrdu_basicsr.degradation.blur_kernel import hr_kernel
from usrdu_basicsr.degradation.simulated_sensor import BayerSensor, FilmGrain
from usrdu_basicsr.ops.kernels import kernel_downsample
from usrdu_basicsr.ops.resize import bicubic_downsample
from usrdu_basicsr.utils.errors import InputError
from usrdu_basicsr.utils.images import decode_image, to_8bit


def gaussian_kernel(wide: float, narrow: float, angle: float, scale: int) -> np.ndarray:
    """Anisotropic Gaussian blur kernel for HR images.

    Args:
        wide: Standard deviation along the wide axis, HR pixels.
        narrow: Standard deviation along the other axis.
        angle: Angle of the wide axis, radians from the horizontal towards the bottom.
        scale: Downsampling factor. The kernel is centred on the `scale` x `scale` pixels of an LR pixel.

    Returns:
        `(8 * scale + 1, 8 * scale + 1)`, sum 1, for `ops.kernels.kernel_downsample`.
    """
    half = 4 * scale
    y, x = np.mgrid[-half : half + 1, -half : half + 1] - (scale - 1) / 2
    along, across = np.cos(angle) * x + np.sin(angle) * y, np.cos(angle) * y - np.sin(angle) * x
    kernel = np.exp(-((along / wide) ** 2 + (across / narrow) ** 2) / 2)
    return kernel / kernel.sum()


@dataclass(frozen=True)
class SimulatedCamera:
    """Camera that blurs, downsamples, adds noise, and compresses.

    Attributes:
        scale: Downsampling factor.
        kernel: Blur kernel, `(k, k)` with odd k; None for bicubic downsampling.
        noise: Standard deviation of white noise, gray levels.
        jpeg: Qualities of successive JPEG compressions with 4:2:0 subsampling.
        blur: Standard deviation of a Gaussian blur before `kernel`, HR pixels; 0 for none.
        sensor: Noise other than white noise, which is added first; None for none.
    """

    scale: int
    kernel: np.ndarray | None = None
    noise: float = 0.0
    jpeg: tuple[int, ...] = ()
    blur: float = 0.0
    sensor: FilmGrain | BayerSensor | None = None

    def __call__(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Take an LR image of an HR image.

        Args:
            image: `(H, W, 3)` float32, BGR, [0, 1], H and W multiples of the scale.
            rng: Random number generator of the noise.

        Returns:
            `(H / scale, W / scale, 3)` uint8, BGR.
        """
        lr = self.downsample(image)
        if self.sensor is not None:
            lr = self.sensor(lr, rng)
        pixels = to_8bit(lr + rng.normal(0, self.noise / 255, lr.shape).astype(np.float32))
        for quality in self.jpeg:
            content = cv2.imencode('.jpg', pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
            pixels = decode_image(content.tobytes(), 'JPEG')
        return pixels

    def downsample(self, image: np.ndarray) -> np.ndarray:
        """Blur and downsample an HR image as the camera does, without noise and JPEG.

        Args:
            image: `(H, W, 3)` float32, H and W multiples of the scale.

        Returns:
            `(H / scale, W / scale, 3)` float32; bicubic downsampling may exceed the range of the image.
        """
        if self.blur:
            image = cv2.GaussianBlur(image, (0, 0), self.blur)
        x = torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))[None]
        if self.kernel is None:
            lr = bicubic_downsample(x, self.scale)
        else:
            lr = kernel_downsample(x, torch.from_numpy(self.kernel).float()[None], self.scale)
        return lr[0].numpy().transpose(1, 2, 0)

    def true_kernel(self) -> np.ndarray:
        """Kernel for `ops.kernels.kernel_downsample` that is equal to `downsample` inside an image.

        Demosaicing and sharpening of a `BayerSensor` are not part of it.

        Returns:
            `(k, k)` of the size of `kernel`, or `(8 * scale + 1, 8 * scale + 1)` for bicubic downsampling; sum 1.
        """
        kernel = hr_kernel(np.ones((1, 1)), self.scale) if self.kernel is None else self.kernel
        if not self.blur:
            return kernel
        return cv2.GaussianBlur(kernel, (0, 0), self.blur, borderType=cv2.BORDER_CONSTANT)


def _gaussian(wide: float, narrow: float, angle: float, scale: int) -> np.ndarray:
    """`gaussian_kernel` for widths in HR pixels at scale 4."""
    return gaussian_kernel(wide * scale / 4, narrow * scale / 4, angle, scale)


# Cameras of tests and benchmarks by name. Each takes the scale, with which its blur grows.
CAMERAS: dict[str, Callable[[int], SimulatedCamera]] = {
    'noise_jpeg': lambda scale: SimulatedCamera(scale, noise=12, jpeg=(85,), blur=scale / 4),
    'anisotropic': lambda scale: SimulatedCamera(scale, _gaussian(3.5, 1.8, 0.6, scale), noise=5),
    'bayer': lambda scale: SimulatedCamera(scale, _gaussian(2, 2, 0, scale), jpeg=(90,), sensor=BayerSensor()),
    'jpeg_twice': lambda scale: SimulatedCamera(scale, _gaussian(2.5, 2.5, 0, scale), noise=2, jpeg=(50, 50)),
    'film_grain': lambda scale: SimulatedCamera(scale, _gaussian(2, 2, 0, scale), sensor=FilmGrain()),
    'blur_only': lambda scale: SimulatedCamera(scale, _gaussian(3, 3, 0, scale)),
}


def made_camera(name: str, scale: int) -> SimulatedCamera:
    """Simulated camera by its name in `CAMERAS`.

    Args:
        name: Key of `CAMERAS`.
        scale: Downsampling factor, 2 or 4.

    Raises:
        InputError: If the name is unknown, or the scale is neither 2 nor 4.
    """
    if name not in CAMERAS:
        raise InputError(f"camera: got unknown name '{name}', expected one of {', '.join(CAMERAS)}. Choose one of them")
    if scale not in (2, 4):
        raise InputError(f"scale of camera '{name}': got {scale}, expected 2 or 4. Choose one of them")
    return CAMERAS[name](scale)
