"""Simulated cameras with known parameters, for tests and benchmarks."""

from dataclasses import dataclass

import cv2
import numpy as np
import torch

from usrdu_basicsr.ops.kernels import kernel_downsample
from usrdu_basicsr.ops.resize import bicubic_downsample
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
    """Camera that blurs, downsamples, adds white noise, and compresses.

    Attributes:
        scale: Downsampling factor.
        kernel: Blur kernel, `(k, k)` with odd k; None for bicubic downsampling.
        noise: Standard deviation of the noise, gray levels.
        jpeg: Qualities of successive JPEG compressions with 4:2:0 subsampling.
    """

    scale: int
    kernel: np.ndarray | None = None
    noise: float = 0.0
    jpeg: tuple[int, ...] = ()

    def __call__(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Take an LR image of an HR image.

        Args:
            image: `(H, W, 3)` float32, BGR, [0, 1], H and W multiples of the scale.
            rng: Random number generator of the noise.

        Returns:
            `(H / scale, W / scale, 3)` uint8, BGR.
        """
        x = torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))[None]
        if self.kernel is None:
            lr = bicubic_downsample(x, self.scale)
        else:
            lr = kernel_downsample(x, torch.from_numpy(self.kernel).float()[None], self.scale)
        pixels = lr[0].numpy().transpose(1, 2, 0)
        pixels = to_8bit(pixels + rng.normal(0, self.noise / 255, pixels.shape).astype(np.float32))
        for quality in self.jpeg:
            content = cv2.imencode('.jpg', pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
            pixels = decode_image(content.tobytes(), 'JPEG')
        return pixels
