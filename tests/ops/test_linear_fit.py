"""Best linear filter: exact for filtered images, and without bias for noisy ones."""

import pytest
import torch
from scipy.ndimage import correlate

from usrdu_basicsr.ops.linear_fit import TAPS, apply_filter, fit_filter


def asymmetric_filter() -> torch.Tensor:
    taps = torch.zeros(TAPS, TAPS)
    taps[4:7, 3:9] = torch.rand(3, 6, generator=torch.Generator().manual_seed(0))
    return taps


@pytest.mark.parametrize(('noise', 'tolerance'), [(0, 1e-4), (0.1, 0.02)])
def test_filter_is_found(noise: float, tolerance: float):
    torch.manual_seed(0)
    taps = asymmetric_filter()
    inputs = [torch.rand(1, 3, 40, 50), torch.rand(1, 3, 64, 30), torch.rand(1, 3, 5, 90)]  # the last one is too small
    outputs = [apply_filter(x, taps) + noise * torch.randn(x.shape) for x in inputs]
    torch.testing.assert_close(fit_filter(zip(inputs, outputs, strict=True)), taps, rtol=0, atol=tolerance)


def test_images_that_are_too_small_give_the_identity():
    taps = fit_filter([(torch.rand(1, 3, 10, 90), torch.rand(1, 3, 10, 90))])
    x = torch.rand(2, 3, 20, 20)
    assert torch.equal(apply_filter(x, taps), x)


def test_filter_equals_scipy():
    x, taps = torch.rand(2, 3, 20, 25), asymmetric_filter()
    expected = correlate(x.numpy(), taps.numpy()[None, None], mode='nearest')
    torch.testing.assert_close(apply_filter(x, taps), torch.from_numpy(expected))
