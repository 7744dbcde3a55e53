"""Network of a measured camera."""

import pytest
import torch

from usrdu_basicsr.archs.kernel_dsn_arch import KernelDSN
from usrdu_basicsr.inference.load_network import build_dsn
from usrdu_basicsr.ops.kernels import kernel_downsample


@pytest.mark.parametrize('scale', [1, 2, 4])
def test_output_is_the_downsampled_image_and_the_calibrated_scale(scale: int):
    net = KernelDSN(8 * scale + 1, scale).eval()
    kernel = torch.rand_like(net.kernel)
    net.kernel.copy_(kernel / kernel.sum())
    net.camera_noise.offset.fill_(0.7)
    x = torch.rand(2, 3, 12 * scale, 16 * scale)
    output = net(x)
    expected = kernel_downsample(x, (kernel / kernel.sum()).expand(2, -1, -1), scale)
    torch.testing.assert_close(output.mean, expected)
    torch.testing.assert_close(output.log_scale, torch.full_like(expected, 0.7))
    assert output.feature_log_scale is None and not list(net.parameters())

    copy = build_dsn(net.state_dict())
    copy.load_state_dict(net.state_dict())
    assert type(copy) is KernelDSN and copy.scale == scale
    assert all(torch.equal(one, other) for one, other in zip(copy(x)[:2], output[:2], strict=True))


def test_lr_pixel_depends_on_its_receptive_radius_only():
    net = KernelDSN(17, 2)
    x = torch.rand(1, 3, 80, 80, requires_grad=True)
    net(x).mean[0, 0, 20, 20].backward()
    touched = x.grad[0, 0].nonzero()
    assert 40 - touched.min() == net.receptive_radius
    assert touched.max() - 41 <= net.receptive_radius


def test_lower_precision_does_not_round_the_mean():
    net, x = KernelDSN(17, 2), torch.rand(1, 3, 32, 32)
    with torch.autocast('cpu', torch.bfloat16):
        assert torch.equal(net(x).mean, KernelDSN(17, 2)(x).mean)
    assert net(x).mean.dtype == torch.float32


def test_even_kernel_is_refused():
    with pytest.raises(ValueError, match='kernel_size: got 16, expected an odd number'):
        KernelDSN(16)
