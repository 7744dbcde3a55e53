"""Self-ensemble: average over flips and transpositions."""

import torch
from torch.nn import functional as F

from usrdu_basicsr.inference.upscaler import with_self_ensemble


def test_network_gets_eight_different_inputs():
    x = torch.rand(1, 3, 4, 6)
    seen = []

    def run(y: torch.Tensor) -> torch.Tensor:
        seen.append(y)
        return F.interpolate(y, scale_factor=2)

    torch.testing.assert_close(with_self_ensemble(run)(x), F.interpolate(x, scale_factor=2))
    inputs = {tuple(y.flatten().tolist()) for y in seen}
    assert len(seen) == len(inputs) == 8


def test_result_is_symmetric():
    """A shift to the right is averaged with shifts to the left, up and down."""
    x = torch.zeros(1, 1, 5, 5)
    x[..., 2, 2] = 1
    y = with_self_ensemble(lambda x: x.roll(1, -1))(x)
    expected = torch.tensor([[0, 1, 0], [1, 0, 1], [0, 1, 0]]) / 4
    torch.testing.assert_close(y[0, 0, 1:4, 1:4], expected)
    assert y.sum() == 1
