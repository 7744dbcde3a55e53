"""Enlarge a large image tile by tile, each tile fading into its neighbours."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor


class Span(NamedTuple):
    """The pixels of a tile along one axis, `stop` not among them."""

    start: int
    stop: int


def spans(length: int, tile: int, overlap: int) -> list[Span]:
    """Cover a length with the fewest spans of equal size, up to `tile`, neighbours sharing `overlap` or one more.

    Args:
        length: At least 1.
        tile: More than twice the overlap.
        overlap: What neighbours share.
    """
    count = max(1, -(-(length - overlap) // (tile - overlap)))
    size = -(-(length + (count - 1) * overlap) // count)
    starts = [index * (length - size) // max(count - 1, 1) for index in range(count)]
    return [Span(start, start + size) for start in starts]


def ramp(all_spans: list[Span], index: int, scale: int) -> Tensor:
    """Weights of a span's enlarged pixels, `(size * scale,)`; those of all spans sum to 1 at every pixel.

    Of what two spans share, the quarter at either's end has weight 0, as a network saw no neighbours there; between
    them one fades into the other linearly.
    """
    span = all_spans[index]
    weights = torch.ones((span.stop - span.start) * scale)
    for at_start, neighbour in ((True, index - 1), (False, index + 1)):
        if 0 <= neighbour < len(all_spans):
            first, second = sorted((all_spans[neighbour], span))
            shared = (first.stop - second.start) * scale
            rising = ((torch.arange(shared) + 0.5 - shared / 4) / (shared / 2)).clamp(0, 1)
            if at_start:
                weights[:shared] = rising
            else:
                weights[len(weights) - shared :] = 1 - rising
    return weights


def enlarged_rows(
    run: Callable[[Span, Span], Tensor], size: tuple[int, int], scale: int, tile: int, overlap: int
) -> Iterator[Tensor]:
    """Enlarge an image in bands of rows, from the top; memory is bounded by a row of tiles, not by the image.

    Args:
        run: Enlarges the part of the image that has these rows and columns: `(C, h * s, w * s)`.
        size: Height and width of the image.
        scale: Of the network.
        tile: Largest side of a part, in pixels of the image; more than twice the overlap.
        overlap: Pixels of the image that neighbouring parts share.

    Yields:
        `(C, rows, W * s)`, in all `H * s` rows.
    """
    rows, columns = (spans(length, tile, overlap) for length in size)
    shared: Tensor | None = None  # rows of the last band that the next one fades into
    for index, row in enumerate(rows):
        band = _band(run, row, columns, scale)
        if len(rows) > 1:
            band *= ramp(rows, index, scale).to(band.device)[:, None]
        if shared is not None:
            band[:, : shared.shape[1]] += shared
        done = (rows[index + 1].start - row.start) * scale if index + 1 < len(rows) else band.shape[1]
        shared = band[:, done:].clone()
        yield band[:, :done]


def _band(run: Callable[[Span, Span], Tensor], row: Span, columns: list[Span], scale: int) -> Tensor:
    """A row of tiles, `(C, h, W * s)`, faded into each other."""
    if len(columns) == 1:
        return run(row, columns[0])
    band = torch.empty(0)
    for index, column in enumerate(columns):
        part = run(row, column)
        if index == 0:
            band = part.new_zeros(*part.shape[:2], columns[-1].stop * scale)
        band[..., column.start * scale : column.stop * scale] += part * ramp(columns, index, scale).to(part.device)
    return band
