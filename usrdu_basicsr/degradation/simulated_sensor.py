"""Noise of simulated cameras that is not white: film grain, and the raw noise of a sensor with a Bayer mosaic."""

import math
from dataclasses import dataclass

import cv2
import numpy as np

SHARPENING_STD = 1.0  # of the unsharp mask, LR pixels
# 16-bit raw values of black and white: noise around both is not clipped, so that its mean is 0
BLACK, WHITE = 4096, 49152


@dataclass(frozen=True)
class FilmGrain:
    """Spatially correlated Gaussian noise, partly shared by the channels, strongest in mid tones.

    Attributes:
        level: Standard deviation in mid tones, gray levels.
        std: Standard deviation of the Gaussian that filters white noise, LR pixels. The correlation of two pixels at a
            distance of d pixels is `exp(-d² / (4 * std²))`, within 0.02 for a `std` of at least 0.8.
        correlation: Correlation of two channels at the same pixel, 0 to 1.
    """

    level: float = 8.0
    std: float = 0.8
    correlation: float = 0.5

    def __call__(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Add grain to an LR image `(H, W, 3)` float32, [0, 1]; the result may exceed the range."""
        return image + self.level_at(image) / 255 * self._field(image.shape[:2], rng)

    def level_at(self, intensity: np.ndarray) -> np.ndarray:
        """Standard deviation of the grain in gray levels for intensities of any shape, [0, 1] after clipping."""
        intensity = intensity.clip(0, 1)
        return self.level * (0.5 + 2 * intensity * (1 - intensity))

    def _field(self, size: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
        """Grain of unit variance, `(H, W, 3)` float32."""
        margin = math.ceil(4 * self.std)  # the filter needs it for equal statistics at the borders
        taps = cv2.getGaussianKernel(2 * margin + 1, self.std)
        taps = taps / np.linalg.norm(taps)
        height, width = size
        white = rng.normal(size=(height + 2 * margin, width + 2 * margin, 4))
        grain = cv2.sepFilter2D(white, -1, taps, taps)[margin : margin + height, margin : margin + width]
        own, shared = grain[..., :3], grain[..., 3:]
        field = (1 - self.correlation) ** 0.5 * own + self.correlation**0.5 * shared
        return field.astype(np.float32)


@dataclass(frozen=True)
class BayerSensor:
    """Sensor with an RGGB mosaic in linear light, followed by demosaicing and sharpening.

    Each raw value is a Poisson number of electrons plus Gaussian read noise. Demosaicing is bilinear. There are no
    white balance and no colour matrix. The defaults give noise of 5.0 (red, blue) and 5.7 (green) gray levels at gray
    level 128, more in shadows and less in highlights. A Gaussian spot with a standard deviation of at least 1 LR pixel
    is shifted by at most 0.1 LR pixels.

    Attributes:
        electrons: Mean number of electrons of a white pixel.
        read_noise: Standard deviation of the read noise, electrons.
        sharpening: Strength of the unsharp mask; 0 for none.
    """

    electrons: float = 600.0
    read_noise: float = 1.5
    sharpening: float = 0.5

    def __call__(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Take an LR image `(H, W, 3)` float32, BGR, [0, 1]; the result may exceed the range."""
        light = srgb_to_linear(image.clip(0, 1))
        raw = light[..., 1].copy()
        raw[::2, ::2] = light[::2, ::2, 2]
        raw[1::2, 1::2] = light[1::2, 1::2, 0]
        signal = (rng.poisson(raw * self.electrons) + rng.normal(0, self.read_noise, raw.shape)) / self.electrons
        codes = (BLACK + (WHITE - BLACK) * signal).round().clip(0, 65535).astype(np.uint16)
        # Mirroring about the edge pixel continues the mosaic; OpenCV itself repeats rows and columns at the borders.
        # It names a mosaic after the second and third pixel of the second row: BG is RGGB
        colours = cv2.demosaicing(np.pad(codes, 2, mode='reflect'), cv2.COLOR_BayerBG2BGR)[2:-2, 2:-2]
        result = linear_to_srgb((colours.astype(np.float32) - BLACK) / (WHITE - BLACK))
        return result + self.sharpening * (result - cv2.GaussianBlur(result, (0, 0), SHARPENING_STD))

    def raw_noise(self, light: np.ndarray) -> np.ndarray:
        """Standard deviation of raw values for linear light of any shape, both in units of white."""
        return (light * self.electrons + self.read_noise**2) ** 0.5 / self.electrons


def srgb_to_linear(values: np.ndarray) -> np.ndarray:
    """Linear light of sRGB values, both [0, 1] and any shape (IEC 61966-2-1)."""
    return np.where(values <= 0.04045, values / 12.92, ((values.clip(min=0) + 0.055) / 1.055) ** 2.4)


def linear_to_srgb(light: np.ndarray) -> np.ndarray:
    """Inverse of `srgb_to_linear`; negative values continue its linear part."""
    return np.where(light <= 0.0031308, light * 12.92, 1.055 * light.clip(min=0) ** (1 / 2.4) - 0.055)
