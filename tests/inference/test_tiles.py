"""Tiling and blending."""

import itertools

import pytest
import torch
from torch.nn import functional as F

from usrdu_basicsr.inference.tiles import blend_weights, split_axis, upscale_rows

SIZES = list(itertools.product((1, 7, 31, 32, 33, 40, 57, 64, 100, 101, 333), ((32, 8), (32, 0), (16, 4), (11, 4))))


@pytest.mark.parametrize(('length', 'settings'), SIZES)
def test_tiles_cover_the_axis(length: int, settings: tuple[int, int]):
    tile, overlap = settings
    tiles = split_axis(length, tile, overlap)
    assert tiles[0].start == 0 and tiles[-1].stop == length
    assert len({span.stop - span.start for span in tiles}) == 1 and tiles[0].stop <= tile
    shared = [first.stop - second.start for first, second in itertools.pairwise(tiles)]
    assert all(overlap <= each <= overlap + 1 for each in shared)
    if len(tiles) > 1:  # one tile less does not cover it
        assert (len(tiles) - 1) * (tile - overlap) + overlap < length


@pytest.mark.parametrize(('length', 'settings'), SIZES)
@pytest.mark.parametrize('scale', [1, 4])
def test_blend_weights_sum_to_one(length: int, settings: tuple[int, int], scale: int):
    tiles = split_axis(length, *settings)
    total = torch.zeros(length * scale)
    for index, span in enumerate(tiles):
        total[span.start * scale : span.stop * scale] += blend_weights(tiles, index, scale)
    torch.testing.assert_close(total, torch.ones_like(total))


def test_blend_weights_rise_linearly():
    """Of 8 overlapping pixels 2 have weight 0, 4 rise linearly, 2 have weight 1."""
    tiles = split_axis(56, 32, 8)
    rising = torch.tensor([0, 0, 1 / 8, 3 / 8, 5 / 8, 7 / 8, 1, 1])
    torch.testing.assert_close(blend_weights(tiles, 0, 1), torch.cat([torch.ones(24), rising.flip(0)]))
    torch.testing.assert_close(blend_weights(tiles, 1, 1), torch.cat([rising, torch.ones(24)]))


@pytest.mark.parametrize('size', [(20, 30), (33, 70), (100, 64), (1, 90)])
def test_seams_are_exact_if_the_overlap_covers_the_receptive_field(size: tuple[int, int]):
    """A filter with a radius of 2 pixels is exact at an overlap of 8; padding outside the image is the same."""
    x = torch.rand(1, 3, *size, generator=torch.Generator().manual_seed(0))
    kernel = torch.rand(3, 1, 5, 5, generator=torch.Generator().manual_seed(1))

    def run(y: torch.Tensor) -> torch.Tensor:
        return F.interpolate(F.conv2d(y, kernel, padding=2, groups=3), scale_factor=2)[0]

    calls = []

    def tile(rows, columns):
        calls.append((rows, columns))
        return run(x[..., rows.start : rows.stop, columns.start : columns.stop])

    bands = list(upscale_rows(tile, size, 2, 32, 8))
    torch.testing.assert_close(torch.cat(bands, 1), run(x))
    assert len(calls) == len(split_axis(size[0], 32, 8)) * len(split_axis(size[1], 32, 8))
    assert all(band.shape[1] <= 64 for band in bands)


def test_blended_tiles_have_no_step():
    """Each tile returns its number; the result changes from one to the next without a step."""
    number = itertools.count()
    bands = upscale_rows(lambda *where: torch.full((1, 1, 32), float(next(number))), (1, 80), 1, 32, 8)
    (band,) = bands
    steps = band[0, 0].diff()
    assert steps.min() >= 0 and steps.max() <= 0.25 + 1e-6 and band[0, 0, -1] == 2
