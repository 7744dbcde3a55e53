"""Where KernelGAN looks: crops of an image, drawn in proportion to how strong its gradients are."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from scipy.ndimage import uniform_filter
from torch import Tensor

from usrdu_basicsr.ops.resize import bicubic_downsample

G_CROP = 64  # pixels that the generator sees; it makes D_CROP of them
D_CROP = 26
TARGET_MARGIN = 3  # pixels of the reduced crop, on each side, that the generator does not make
BORDER = 10  # pixels dropped on each side of a photo
LEAST_SIDE = G_CROP + 2 * BORDER
PERCENTILE = 0.97
BLUR = 5


def trim(image: np.ndarray) -> np.ndarray:
    """Drop the borders of `(H, W, 3)`, then what exceeds a multiple of 2.

    Raises:
        ValueError: A side is shorter than `LEAST_SIDE`.
    """
    if min(image.shape[:2]) < LEAST_SIDE:
        raise ValueError(f'image of {image.shape[0]}x{image.shape[1]} pixels: KernelGAN needs {LEAST_SIDE} a side')
    height, width = (side // 2 * 2 for side in image.shape[:2])
    return image[BORDER : height - BORDER, BORDER : width - BORDER]


def gradient_strength(gray: np.ndarray) -> np.ndarray:
    """Map `(H, W)` of a gray image's strongest gradients: horizontal, vertical and of any direction, blurred, mean 1.

    A flat image has no gradients; its map is 1 everywhere.
    """
    dy, dx = np.gradient(gray)
    strength = np.zeros_like(gray)
    for gradient in (np.hypot(dx, dy), np.abs(dx), np.abs(dy)):
        pivot = int(PERCENTILE * gradient.size)
        low, high = np.partition(gradient, (pivot, pivot + 1), axis=None)[pivot : pivot + 2]
        strongest = _without_edges(gradient.clip(low, max(high, low + 1e-5)) - low, BLUR // 2)
        if strongest.any():
            strength += strongest / strongest.sum()
    strength = uniform_filter(strength, BLUR, mode='constant')
    return strength / strength.mean() if strength.any() else np.ones_like(gray)


def centre_probability(strength: np.ndarray, crop: int) -> np.ndarray:
    """Probability `(H, W)` of each pixel to be a crop's centre: the mean strength of its inner half.

    It is 0 where a crop would not fit. Where that leaves nothing, all pixels are alike; crops are then moved inside.
    """
    probability = _without_edges(uniform_filter(strength, crop // 2, mode='constant'), crop // 2)
    probability = probability.clip(0)  # the filter's running sums may end a rounding error below 0
    if not probability.any():
        probability = np.ones_like(strength)
    return probability / probability.sum()


def _without_edges(x: np.ndarray, margin: int) -> np.ndarray:
    inner = np.zeros_like(x)
    inside = (slice(margin, -margin), slice(margin, -margin))
    inner[inside] = x[inside]
    return inner


def draw_corners(probability: np.ndarray, crop: int, count: int, rng: np.random.Generator) -> np.ndarray:
    """Top left corners `(count, 2)` of crops, rows and columns, all even: crops then align with the reduced image."""
    rows, columns = np.unravel_index(rng.choice(probability.size, size=count, p=probability.ravel()), probability.shape)
    corners = np.stack([rows, columns], 1) - crop // 2
    return corners.clip(0, np.array(probability.shape) - crop) // 2 * 2


class SourceImages:
    """The photos of a batch, their bicubic reductions, and where each is looked at.

    Args:
        images: `(H, W, 3)` float32, RGB, [0, 1], of any sizes; trimmed here.
        device: Where crops are cut.

    Raises:
        ValueError: An image is too small.
    """

    def __init__(self, images: Sequence[np.ndarray], device: torch.device) -> None:
        sources = [torch.from_numpy(np.ascontiguousarray(trim(image).transpose(2, 0, 1))) for image in images]
        reduced = [bicubic_downsample(source[None], 2)[0] for source in sources]
        self.sources = _Stack(sources, device)
        self.targets = _Stack([image * 2 - 1 for image in reduced], device)
        self.g_probabilities, self.d_probabilities = [], []
        for source, small in zip(sources, reduced, strict=True):
            strength = gradient_strength(_gray(small)).repeat(2, axis=0).repeat(2, axis=1)
            self.g_probabilities.append(centre_probability(strength, G_CROP))
            self.d_probabilities.append(centre_probability(gradient_strength(_gray(source)), D_CROP))

    def draw(self, which: Sequence[int], count: int, rngs: Sequence[np.random.Generator]) -> CropSequence:
        """Draw the crops of every iteration of every run.

        Args:
            which: Image of each run.
            count: Iterations.
            rngs: Random stream of each run.
        """
        corners = [
            (
                draw_corners(self.g_probabilities[image], G_CROP, count, rng),
                draw_corners(self.d_probabilities[image], D_CROP, count, rng),
            )
            for image, rng in zip(which, rngs, strict=True)
        ]
        g_corners, d_corners = (np.stack(one, 1) for one in zip(*corners, strict=True))
        return CropSequence(self, which, g_corners, d_corners)


class CropSequence:
    """What the runs of a batch see, iteration by iteration.

    Args:
        images: The photos.
        which: Photo of each run.
        g_corners: Corners of the generator's crops, `(iterations, R, 2)`.
        d_corners: Corners of the discriminator's.
    """

    def __init__(
        self, images: SourceImages, which: Sequence[int], g_corners: np.ndarray, d_corners: np.ndarray
    ) -> None:
        self.g_crops = _Crops(images.sources, which, g_corners, G_CROP)
        self.targets = _Crops(images.targets, which, g_corners // 2 + TARGET_MARGIN, D_CROP)
        self.d_crops = _Crops(images.sources, which, d_corners, D_CROP)

    def __getitem__(self, iteration: int) -> tuple[Tensor, Tensor, Tensor]:
        """Crops for the generator `(R, 3, 64, 64)` in [-1, 1], their bicubic reduction `(R, 3, 26, 26)`, and crops for
        the discriminator `(R, 3, 26, 26)` in [0, 1].
        """
        return self.g_crops[iteration].mul_(2).sub_(1), self.targets[iteration], self.d_crops[iteration]


class _Stack:
    """Images `(3, H, W)` of any sizes, one after the other in one tensor, so that cutting all crops is one step."""

    def __init__(self, images: Sequence[Tensor], device: torch.device) -> None:
        self.values = torch.cat([image.flatten() for image in images]).to(device)
        self.starts = np.cumsum([0, *(image.numel() for image in images)])
        self.shapes = [image.shape for image in images]


class _Crops:
    """Crops of a stack's images at given corners."""

    def __init__(self, stack: _Stack, which: Sequence[int], corners: np.ndarray, size: int) -> None:
        self.rows = stack.values.unfold(0, size, 1)  # the `size` pixels from each one on: a view
        device = stack.values.device
        heights, widths = (np.array([stack.shapes[image][axis] for image in which]) for axis in (1, 2))
        first = stack.starts[list(which)] + corners[..., 0] * widths + corners[..., 1]
        self.first = torch.from_numpy(first).to(device)  # (iterations, R)
        offsets = np.arange(3)[:, None] * (heights * widths)[:, None, None] + np.arange(size) * widths[:, None, None]
        self.offsets = torch.from_numpy(offsets).to(device)  # of each row, (R, 3, size)

    def __getitem__(self, iteration: int) -> Tensor:
        starts = self.offsets + self.first[iteration, :, None, None]
        return self.rows.index_select(0, starts.flatten()).view(*starts.shape, -1)


def _gray(image: Tensor) -> np.ndarray:
    """Luma (ITU-R BT.601) of `(3, H, W)`."""
    return (torch.tensor([0.299, 0.587, 0.114]) @ image.flatten(1)).view(image.shape[1:]).numpy().astype(np.float64)
