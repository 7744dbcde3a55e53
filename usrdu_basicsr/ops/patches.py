"""Random crops, flips and rotations of batches on their device."""

import torch
from torch import Tensor


def crop_and_augment(images: Tensor, crops: Tensor, size: int) -> Tensor:
    """Crop each image of a batch, then flip and transpose the crop, in the order of BasicSR's `augment`.

    The positions may be on a GPU and are not read by the CPU.

    Args:
        images: `(N, C, H, W)`.
        crops: `(N, 5)` int64: top, left, and whether (0 or 1) to flip horizontally, to flip vertically, to transpose.
        size: Side of the crops.

    Returns:
        `(N, C, size, size)`.
    """
    top, left, hflip, vflip, transpose = crops.T[..., None, None].to(images.device)  # each (N, 1, 1)
    index = torch.arange(size, device=images.device)
    row, column = index[:, None], index[None]  # of the result
    row, column = torch.where(transpose == 1, column, row), torch.where(transpose == 1, row, column)  # (N, size, size)
    row = torch.where(vflip == 1, size - 1 - row, row)
    column = torch.where(hflip == 1, size - 1 - column, column)
    image = torch.arange(len(images), device=images.device)[:, None, None]
    return images[image, :, top + row, left + column].permute(0, 3, 1, 2)


def round_to_8bit(images: Tensor) -> Tensor:
    """Round images in [0, 1] to the values of 8-bit images; values outside are clipped."""
    return (images.clamp(0, 1) * 255).round() / 255
