"""Tiled processing of large images: blended tiles for upscaling, exact tiles for downsampling."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor


def split_axis(length: int, tile: int, overlap: int) -> list[slice]:
    """Cover an axis of an image with the fewest tiles of equal size.

    Args:
        length: Length of the axis, `>= 1`.
        tile: Maximum size of a tile, more than twice the overlap.
        overlap: Pixels shared by neighbouring tiles. Some neighbours share one more.
    """
    count = max(1, -(-(length - overlap) // (tile - overlap)))
    size = -(-(length + (count - 1) * overlap) // count)
    starts = [index * (length - size) // max(count - 1, 1) for index in range(count)]
    return [slice(start, start + size) for start in starts]


def blend_weights(tiles: list[slice], index: int, scale: int) -> Tensor:
    """Weights of a tile's output along one axis, `(size * scale,)`. The weights of all tiles sum to 1 at every pixel.

    Outputs near a cut edge lack context, so the outer quarter of each overlap has weight 0. The weights change linearly
    in between.
    """
    tile = tiles[index]
    weights = torch.ones((tile.stop - tile.start) * scale)
    if index > 0:
        ramp = _ramp((tiles[index - 1].stop - tile.start) * scale)
        weights[: len(ramp)] = ramp
    if index + 1 < len(tiles):
        ramp = _ramp((tile.stop - tiles[index + 1].start) * scale)
        weights[len(weights) - len(ramp) :] = 1 - ramp
    return weights


def _ramp(length: int) -> Tensor:
    return ((torch.arange(length) + 0.5 - length / 4) / (length / 2)).clamp(0, 1)


def upscale_rows(
    run: Callable[[slice, slice], Tensor], size: tuple[int, int], scale: int, tile: int, overlap: int
) -> Iterator[Tensor]:
    """Upscale an image in blended tiles and yield finished rows, so that memory contains only one row of tiles.

    Args:
        run: Function that upscales the given rows and columns of the image to `(C, h * scale, w * scale)`.
        size: Height and width of the image.
        scale: Upscaling factor of `run`.
        tile: Maximum side of a tile in pixels of the image, more than twice the overlap.
        overlap: Pixels of the image shared by neighbouring tiles.

    Yields:
        Consecutive rows of the result from the top, `(C, h, W * scale)`.
    """
    rows, columns = (split_axis(length, tile, overlap) for length in size)
    shared: Tensor | None = None  # last rows of the previous band, to be blended with the next
    for index, row in enumerate(rows):
        band = _upscale_band(run, row, columns, scale)
        band *= blend_weights(rows, index, scale).to(band.device)[:, None]
        if shared is not None:
            band[:, : shared.shape[1]] += shared
        finished = (rows[index + 1].start - row.start) * scale if index + 1 < len(rows) else band.shape[1]
        shared = band[:, finished:].clone()
        yield band[:, :finished]


def _upscale_band(run: Callable[[slice, slice], Tensor], row: slice, columns: list[slice], scale: int) -> Tensor:
    """One row of tiles, blended horizontally, `(C, h * scale, W * scale)`."""
    output = run(row, columns[0])
    if len(columns) == 1:
        return output
    band = output.new_zeros(*output.shape[:2], columns[-1].stop * scale)
    for index, column in enumerate(columns):
        output = run(row, column) if index else output
        weights = blend_weights(columns, index, scale).to(output.device)
        band[..., column.start * scale : column.stop * scale] += output * weights
    return band


def downsample_in_tiles(
    x: Tensor, run: Callable[[Tensor], tuple[Tensor, ...]], scale: int, radius: int, tile: int
) -> tuple[Tensor, ...]:
    """Run a downsampling network in tiles with the same result as for the whole image.

    Args:
        x: `(N, C, H, W)`, H and W multiples of `scale`.
        run: Network that maps `(N, C, h, w)` to tensors `(N, c, h / scale, w / scale)`.
        scale: Downsampling factor of `run`.
        radius: Receptive radius of `run` in pixels of `x`. Each tile is extended by at least this margin.
        tile: Side of a tile without its margin, in pixels of `x`, rounded up to a multiple of `scale`.

    Returns:
        Outputs of `run` for all of `x`, on the CPU.
    """
    tile = -(-tile // scale) * scale
    margin = -(-radius // scale) * scale  # a multiple of the scale keeps the phase of the strided convolutions
    bands = []
    for top in range(0, x.shape[-2], tile):
        band = []
        for left in range(0, x.shape[-1], tile):
            y0, x0 = max(top - margin, 0), max(left - margin, 0)
            outputs = run(x[..., y0 : top + tile + margin, x0 : left + tile + margin])
            rows, columns = (slice(start // scale, (start + tile) // scale) for start in (top - y0, left - x0))
            band.append([output[..., rows, columns].cpu() for output in outputs])
        bands.append([torch.cat(parts, -1) for parts in zip(*band, strict=True)])
    return tuple(torch.cat(parts, -2) for parts in zip(*bands, strict=True))
