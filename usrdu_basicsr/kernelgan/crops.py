"""Training crops of KernelGAN, drawn in proportion to the local gradient strength of an image."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from scipy.ndimage import uniform_filter
from torch import Tensor

from usrdu_basicsr.ops.resize import bicubic_downsample

G_CROP = 64  # input side of the generator, whose output side is D_CROP
D_CROP = 26
TARGET_MARGIN = 3  # pixels of the downsampled crop on each side that the generator's output lacks
BORDER = 10  # pixels dropped on each side of an image
MIN_SIDE = G_CROP + 2 * BORDER
PERCENTILE = 0.97
BLUR = 5


def trim(image: np.ndarray) -> np.ndarray:
    """Drop the borders of an image `(H, W, 3)` and cut its sides to multiples of 2.

    Raises:
        ValueError: If a side is shorter than `MIN_SIDE`.
    """
    height, width = image.shape[:2]
    if min(height, width) < MIN_SIDE:
        raise ValueError(f'image is too small for KernelGAN: got {height}x{width} pixels, expected sides >= {MIN_SIDE}')
    return image[BORDER : height // 2 * 2 - BORDER, BORDER : width // 2 * 2 - BORDER]


def gradient_strength(gray: np.ndarray) -> np.ndarray:
    """Map `(H, W)` of the gradients of a gray image, blurred, with mean 1. A flat image has 1 everywhere.

    The map is the sum of the gradient magnitude and of the strongest horizontal and vertical gradients. These three
    contribute equally. Gradients near the border are ignored.
    """
    dy, dx = (_clear_border(gradient, BLUR) for gradient in np.gradient(gray))
    strength = np.zeros_like(gray)
    for part in (np.hypot(dx, dy), _strongest(np.abs(dx)), _strongest(np.abs(dy))):
        if part.any():
            strength += part / part.sum()
    strength = uniform_filter(strength, BLUR, mode='constant')
    return strength / strength.mean() if strength.any() else np.ones_like(gray)


def _strongest(gradient: np.ndarray) -> np.ndarray:
    """Gradient clipped between its 97th percentile and the next larger value, minus the percentile."""
    pivot = int(PERCENTILE * gradient.size)
    low, high = np.partition(gradient, (pivot, pivot + 1), axis=None)[pivot : pivot + 2]
    return gradient.clip(low, high if high > low else low + 1e-5) - low


def centre_probability(strength: np.ndarray, crop: int) -> np.ndarray:
    """Probability `(H, W)` that a pixel is the centre of a crop: the mean strength of the inner half of that crop.

    It is 0 where a crop does not fit. If that excludes all pixels, it is uniform; `draw_corners` moves crops inside.
    """
    probability = _clear_border(uniform_filter(strength, crop // 2, mode='constant'), crop // 2)
    probability = probability.clip(0)  # rounding errors of the filter's running sums can be negative
    if not probability.any():
        probability = np.ones_like(strength)
    return probability / probability.sum()


def _clear_border(x: np.ndarray, margin: int) -> np.ndarray:
    return np.pad(x[margin:-margin, margin:-margin], margin)


def draw_corners(probability: np.ndarray, crop: int, count: int, rng: np.random.Generator) -> np.ndarray:
    """Draw top left corners (row, column) of crops, `(count, 2)`; all are even, to align with the downsampled image."""
    rows, columns = np.unravel_index(rng.choice(probability.size, size=count, p=probability.ravel()), probability.shape)
    corners = np.stack([rows, columns], 1) - crop // 2
    return corners.clip(0, np.array(probability.shape) - crop) // 2 * 2


class SourceImages:
    """Images of a batch, their bicubic downsamplings and their crop probabilities.

    Args:
        images: Images `(H, W, 3)` of any sizes, float32, RGB, [0, 1]; they are trimmed here.
        device: Device of the crops.

    Raises:
        ValueError: If an image is too small.
    """

    def __init__(self, images: Sequence[np.ndarray], device: torch.device) -> None:
        sources = [torch.from_numpy(np.ascontiguousarray(trim(image).transpose(2, 0, 1))) for image in images]
        downsampled = [bicubic_downsample(source[None], 2)[0] for source in sources]
        self.sources = _FlatImages(sources, device)
        self.targets = _FlatImages([image * 2 - 1 for image in downsampled], device)
        strengths = [gradient_strength(_gray(image)).repeat(2, axis=0).repeat(2, axis=1) for image in downsampled]
        self.g_probabilities = [centre_probability(strength, G_CROP) for strength in strengths]
        self.d_probabilities = [centre_probability(gradient_strength(_gray(image)), D_CROP) for image in sources]

    def draw(
        self, indices: Sequence[int], count: int, rngs: Sequence[np.random.Generator]
    ) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Draw the crops of all iterations and runs, and cut them as `cut` does.

        Args:
            indices: Image index of each run.
            count: Number of iterations.
            rngs: Random stream of each run.
        """
        runs = list(zip(indices, rngs, strict=True))
        g_corners = [draw_corners(self.g_probabilities[index], G_CROP, count, rng) for index, rng in runs]
        d_corners = [draw_corners(self.d_probabilities[index], D_CROP, count, rng) for index, rng in runs]
        return self.cut(indices, np.stack(g_corners, 1), np.stack(d_corners, 1))

    def cut(
        self, indices: Sequence[int], g_corners: np.ndarray, d_corners: np.ndarray
    ) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Cut the crops of all runs, one iteration at a time.

        Args:
            indices: Image index of each run.
            g_corners: Corners of the generator crops, `(iterations, R, 2)`.
            d_corners: Corners of the discriminator crops, `(iterations, R, 2)`.

        Yields:
            Generator crops `(R, 3, 64, 64)` in [-1, 1], their bicubic downsamplings `(R, 3, 26, 26)` in [-1, 1], and
            discriminator crops `(R, 3, 26, 26)` in [0, 1].
        """
        g_crops = self.sources.cut(indices, g_corners, G_CROP)
        targets = self.targets.cut(indices, g_corners // 2 + TARGET_MARGIN, D_CROP)
        d_crops = self.sources.cut(indices, d_corners, D_CROP)
        for g_crop, target, d_crop in zip(g_crops, targets, d_crops, strict=True):
            yield g_crop.mul_(2).sub_(1), target, d_crop


class _FlatImages:
    """Images `(3, H, W)` of any sizes concatenated to one tensor, so that one operation cuts all crops."""

    def __init__(self, images: Sequence[Tensor], device: torch.device) -> None:
        self.values = torch.cat([image.flatten() for image in images]).to(device)
        self.starts = np.cumsum([0, *(image.numel() for image in images)])
        self.shapes = [image.shape for image in images]

    def cut(self, indices: Sequence[int], corners: np.ndarray, size: int) -> Iterator[Tensor]:
        """Yield crops `(R, 3, size, size)` of the indexed images at each of the corners `(iterations, R, 2)`."""
        rows = self.values.unfold(0, size, 1)  # row i is the `size` pixels from pixel i on, a view
        device = self.values.device
        heights, widths = (np.array([self.shapes[index][axis] for index in indices]) for axis in (1, 2))
        first = self.starts[list(indices)] + corners[..., 0] * widths + corners[..., 1]  # pixels, (iterations, R)
        offsets = np.arange(3)[:, None] * (heights * widths)[:, None, None] + np.arange(size) * widths[:, None, None]
        row_offsets = torch.from_numpy(offsets).to(device)  # from the first pixel of a crop, (R, 3, size)
        for crop_starts in torch.from_numpy(first).to(device):
            row_starts = row_offsets + crop_starts[:, None, None]
            yield rows.index_select(0, row_starts.flatten()).view(*row_starts.shape, -1)


def _gray(image: Tensor) -> np.ndarray:
    """Luma (ITU-R BT.601) of an RGB image `(3, H, W)`."""
    return (torch.tensor([0.299, 0.587, 0.114]) @ image.flatten(1)).view(image.shape[1:]).numpy().astype(np.float64)
