"""Reduce a large image tile by tile, with the result of doing it at once."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def downsample_in_tiles(
    x: Tensor, run: Callable[[Tensor], tuple[Tensor, ...]], scale: int, radius: int, tile: int
) -> tuple[Tensor, ...]:
    """Run a reducing network on overlapping tiles; memory is bounded by the tile, not by the image.

    Args:
        x: `(N, C, H, W)`, H and W multiples of `scale`; only one tile at a time is given to `run`.
        run: Network: `(N, C, h, w)` to maps `(N, c, h / scale, w / scale)`.
        scale: Reduction of `run`.
        radius: Pixels of `x` on each side that a pixel of `run(x)` depends on. At least that many are added around each
            tile, so that its own part is what the whole image would give.
        tile: Side of a tile without what is added, in pixels of `x`; rounded up to a multiple of `scale`.

    Returns:
        The maps for all of `x`, on the CPU.
    """
    step = -(-tile // scale) * scale
    margin = -(-radius // scale) * scale  # a multiple keeps the phase of the strided convolutions
    height, width = x.shape[-2:]
    outputs: tuple[Tensor, ...] = ()
    for top in range(0, height, step):
        for left in range(0, width, step):
            bottom, right = min(top + step, height), min(left + step, width)
            y0, x0 = max(top - margin, 0), max(left - margin, 0)
            results = run(x[..., y0 : min(bottom + margin, height), x0 : min(right + margin, width)])
            if not outputs:
                outputs = tuple(torch.empty(*r.shape[:2], height // scale, width // scale) for r in results)
            inner_rows = slice((top - y0) // scale, (bottom - y0) // scale)
            inner_columns = slice((left - x0) // scale, (right - x0) // scale)
            for output, result in zip(outputs, results, strict=True):
                part = output[..., top // scale : bottom // scale, left // scale : right // scale]
                part.copy_(result[..., inner_rows, inner_columns])
    return outputs
