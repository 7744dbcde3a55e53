"""DSN: output shapes, initial output of the residual variant, and receptive field."""

import numpy as np
import pytest
import torch
from scipy.ndimage import correlate

from usrdu_basicsr.archs.dsn_arch import UncertaintyDSN
from usrdu_basicsr.inference.load_network import dsn_options
from usrdu_basicsr.ops.resize import bicubic_downsample


@pytest.mark.parametrize('scale', [1, 2, 4])
@pytest.mark.parametrize('residual', [False, True])
def test_output_shapes(scale: int, residual: bool):
    net = UncertaintyDSN(num_feat=8, num_block=1, scale=scale, residual=residual)
    h, w = 16 * scale + 3 * scale, 32 * scale
    out = net(torch.rand(2, 3, h, w))
    assert out.mean.shape == out.log_scale.shape == (2, 3, h // scale, w // scale)
    assert out.feature_log_scale.shape == (2, 512, h // (16 * scale), w // (16 * scale))
    assert out.log_scale.min() >= -1 and out.feature_log_scale.min() >= -1
    assert net(torch.rand(1, 3, h, w), with_features=False).feature_log_scale is None


def test_residual_dsn_starts_with_bicubic_downsampling():
    x = torch.rand(1, 3, 32, 48)
    net = UncertaintyDSN(num_feat=8, num_block=1, residual=True)
    assert torch.equal(net(x, with_features=False).mean, bicubic_downsample(x, 4))


def test_residual_dsn_starts_with_the_kernel_of_a_camera():
    x = torch.rand(2, 3, 32, 48)
    net = UncertaintyDSN(num_feat=8, num_block=1, scale=2, residual=True, kernel_size=17)
    kernel = torch.rand(1, 17, 17)
    net.set_base_kernel(kernel)
    expected = np.stack([correlate(x[1, c].numpy(), kernel[0].numpy(), mode='reflect')[::2, ::2] for c in range(3)])
    np.testing.assert_allclose(net(x, with_features=False).mean[1].detach(), expected, rtol=1e-4)
    for wrong in (torch.rand(2, 17, 17), torch.rand(1, 15, 15)):
        with pytest.raises(ValueError, match=r'kernels: got .* pixels, expected 1 of kernel_size 17'):
            net.set_base_kernel(wrong)


@pytest.mark.parametrize(
    'arguments',
    [
        {'scale': 3},
        {'scale': 8},
        {'residual': True, 'num_out_ch': 1},
        {'calibrated': True, 'num_out_ch': 1},
        {'residual': True, 'kernel_size': 16},
        {'kernel_size': 17},
    ],
)
def test_unsupported_settings(arguments: dict):
    with pytest.raises(
        ValueError,
        match=r'UncertaintyDSN: (scale: got \d, expected 1, 2 or 4|residual needs|calibrated: got|kernel_size: got)',
    ):
        UncertaintyDSN(**arguments)


@pytest.mark.parametrize('scale', [1, 2, 4])
@pytest.mark.parametrize('residual', [False, True])
@pytest.mark.parametrize('num_block', [0, 2])
@pytest.mark.parametrize('kernel_size', [0, 65])
def test_receptive_radius(scale: int, residual: bool, num_block: int, kernel_size: int):
    """The gradient of an output pixel stays within the radius, and the radius is at most 2 LR pixels too large."""
    net = UncertaintyDSN(
        num_feat=4, num_block=num_block, scale=scale, residual=residual, kernel_size=kernel_size * residual
    ).double()
    for parameter in net.parameters():
        torch.nn.init.uniform_(parameter, 0.1, 0.2)  # positive, so that no terms cancel
    size = 96
    x = torch.rand(1, 3, size, size, dtype=torch.float64, requires_grad=True)
    out = net(x, with_features=False)
    middle = size // scale // 2
    (out.mean[..., middle, middle].sum() + out.log_scale[..., middle, middle].sum()).backward()
    nonzero = x.grad.abs().sum((0, 1)).nonzero()
    before = middle * scale - nonzero.min().item()
    after = nonzero.max().item() - (middle * scale + scale - 1)
    assert max(before, after) <= net.receptive_radius <= max(before, after) + 2 * scale


def test_options_from_weights():
    for options in (
        {
            'num_in_ch': 3,
            'num_out_ch': 3,
            'num_feat': 8,
            'num_block': 2,
            'scale': 2,
            'residual': True,
            'kernel_size': 17,
            'calibrated': True,
        },
        {
            'num_in_ch': 1,
            'num_out_ch': 3,
            'num_feat': 16,
            'num_block': 1,
            'scale': 1,
            'residual': False,
            'kernel_size': 0,
            'calibrated': False,
        },
        {
            'num_in_ch': 3,
            'num_out_ch': 3,
            'num_feat': 4,
            'num_block': 3,
            'scale': 4,
            'residual': False,
            'kernel_size': 0,
            'calibrated': False,
        },
    ):
        assert dsn_options(UncertaintyDSN(**options).state_dict()) == options
