"""Tiles and their seams."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch.nn import functional as F

from usrdu_basicsr.inference.tiles import enlarged_rows, ramp, spans

SIZES = list(itertools.product((1, 7, 31, 32, 33, 40, 57, 64, 100, 101, 333), ((32, 8), (32, 0), (16, 4), (11, 4))))


@pytest.mark.parametrize(('length', 'settings'), SIZES)
def test_spans_cover_a_length(length: int, settings: tuple[int, int]):
    tile, overlap = settings
    found = spans(length, tile, overlap)
    assert found[0].start == 0 and found[-1].stop == length
    assert len({span.stop - span.start for span in found}) == 1 and found[0].stop <= tile
    shared = [first.stop - second.start for first, second in itertools.pairwise(found)]
    assert all(overlap <= each <= overlap + 1 for each in shared)
    if len(found) > 1:  # one fewer would not do
        assert (len(found) - 1) * (tile - overlap) + overlap < length


@pytest.mark.parametrize(('length', 'settings'), SIZES)
@pytest.mark.parametrize('scale', [1, 4])
def test_ramps_sum_to_one(length: int, settings: tuple[int, int], scale: int):
    found = spans(length, *settings)
    total = torch.zeros(length * scale)
    for index, span in enumerate(found):
        total[span.start * scale : span.stop * scale] += ramp(found, index, scale)
    torch.testing.assert_close(total, torch.ones_like(total))


def test_a_ramp():
    """Of 8 shared pixels 2 have weight 0, 4 rise linearly, 2 have weight 1."""
    found = spans(56, 32, 8)
    rising = torch.tensor([0, 0, 1 / 8, 3 / 8, 5 / 8, 7 / 8, 1, 1])
    torch.testing.assert_close(ramp(found, 0, 1), torch.cat([torch.ones(24), rising.flip(0)]))
    torch.testing.assert_close(ramp(found, 1, 1), torch.cat([rising, torch.ones(24)]))


@pytest.mark.parametrize('size', [(20, 30), (33, 70), (100, 64), (1, 90)])
def test_seams_cannot_be_seen_where_a_tile_sees_enough(size: tuple[int, int]):
    """A filter that looks 2 pixels far is exact with 8 shared pixels; beyond the image it sees the same as in one."""
    x = torch.rand(1, 3, *size, generator=torch.Generator().manual_seed(0))
    kernel = torch.rand(3, 1, 5, 5, generator=torch.Generator().manual_seed(1))

    def run(y: torch.Tensor) -> torch.Tensor:
        return F.interpolate(F.conv2d(y, kernel, padding=2, groups=3), scale_factor=2)[0]

    calls = []

    def tile(rows, columns):
        calls.append((rows, columns))
        return run(x[..., rows.start : rows.stop, columns.start : columns.stop])

    bands = list(enlarged_rows(tile, size, 2, 32, 8))
    torch.testing.assert_close(torch.cat(bands, 1), run(x))
    assert len(calls) == len(spans(size[0], 32, 8)) * len(spans(size[1], 32, 8))
    assert all(band.shape[1] <= 64 for band in bands)


def test_tiles_fade_into_each_other():
    """Where each tile says something else, as its number, the result goes from one to the next without a step."""
    number = itertools.count()
    bands = enlarged_rows(lambda *where: torch.full((1, 1, 32), float(next(number))), (1, 80), 1, 32, 8)
    (band,) = bands
    steps = band[0, 0].diff()
    assert steps.min() >= 0 and steps.max() <= 0.25 + 1e-6 and band[0, 0, -1] == 2
