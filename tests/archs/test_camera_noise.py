"""Calibrated samples of a DSN against closed forms."""

import cv2
import numpy as np
import pytest
import torch
from scipy.signal import correlate2d
from skimage import data

from usrdu_basicsr.archs.camera_noise import KNOTS, TAPS, CameraNoise, sample_lr
from usrdu_basicsr.archs.dsn_arch import UncertaintyDSN
from usrdu_basicsr.ops.laplace import sample_laplace


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(5)


def noise_with(**buffers: torch.Tensor) -> CameraNoise:
    noise = CameraNoise()
    for name, value in buffers.items():
        getattr(noise, name).copy_(value)
    noise.prepare()
    return noise


def test_new_calibration_is_the_published_sampler_bit_for_bit():
    torch.manual_seed(0)
    plain = UncertaintyDSN(num_feat=8, num_block=1).eval()
    calibrated = UncertaintyDSN(num_feat=8, num_block=1, calibrated=True).eval()
    missing = calibrated.load_state_dict(plain.state_dict(), strict=False).missing_keys
    assert all(key.startswith('camera_noise.') for key in missing) and len(missing) == 5
    x = torch.rand(2, 3, 64, 72)
    expected, got = plain(x), calibrated(x)
    assert torch.equal(got.mean, expected.mean) and torch.equal(got.log_scale, expected.log_scale)
    published = sample_laplace(expected.mean, expected.log_scale, generator())
    assert torch.equal(sample_lr(got.mean, got.log_scale, calibrated.camera_noise, generator()), published)
    assert torch.equal(sample_lr(got.mean, got.log_scale, None, generator()), published)


def test_log_scale_by_brightness():
    offset = torch.arange(3 * KNOTS, dtype=torch.float32).reshape(3, KNOTS) / 10
    brightness = torch.linspace(0, 1, 256)
    mean = torch.stack([brightness - 0.1, brightness, brightness + 0.1])[None, :, None]
    log_scale = torch.rand(mean.shape)
    got = noise_with(offset=offset, weight=torch.tensor(0.5)).log_scale(mean, log_scale)
    centres = (np.arange(KNOTS) + 0.5) * 256 / KNOTS - 0.5
    for channel in range(3):
        expected = np.interp(255 * brightness.numpy(), centres, offset[channel].numpy())
        np.testing.assert_allclose(got[0, channel, 0] - log_scale[0, channel, 0] / 2, expected, atol=1e-5)


def test_training_ignores_the_calibration():
    net = UncertaintyDSN(num_feat=8, num_block=1, calibrated=True)
    x = torch.rand(1, 3, 64, 64)
    before = net(x).log_scale
    net.camera_noise.offset.fill_(3)
    assert torch.equal(net(x).log_scale, before)
    torch.testing.assert_close(net.eval()(x).log_scale, before + 3)


def test_filter_and_mix_give_the_autocorrelation_and_the_colours():
    taps = torch.zeros(TAPS, TAPS)
    taps[2:5, 2:5] = torch.tensor([[0.1, 0.2, 0.0], [0.3, 0.9, 0.2], [0.1, 0.1, 0.2]])
    taps /= taps.square().sum().sqrt()
    mix = torch.tensor([[0.8, 0.6, 0.0], [0.0, 1.0, 0.0], [0.6, 0.0, 0.8]])
    noise = noise_with(taps=taps, mix=mix)
    assert noise.radius == 1
    mean = torch.full((4, 3, 250, 250), 0.5)
    log_scale = torch.full_like(mean, 5.0).log()
    field = (255 * (noise.sample(mean, log_scale, generator()) - mean)).double()
    torch.testing.assert_close(field.std((0, 2, 3)), torch.full((3,), 5 * 2**0.5).double(), rtol=0.02, atol=0)
    correlation = torch.corrcoef(field.transpose(0, 1).flatten(1))
    torch.testing.assert_close(correlation, (mix @ mix.T).double(), rtol=0, atol=0.02)
    closed_form = correlate2d(taps.numpy(), taps.numpy())[TAPS - 3 : TAPS + 2, TAPS - 3 : TAPS + 2]
    unit = field / field.std()
    for dy, dx in ((0, 1), (1, 0), (1, 1), (2, 1)):
        measured = (unit[:, :, dy:, dx:] * unit[:, :, : 250 - dy, : 250 - dx]).mean()
        assert float(measured) == pytest.approx(closed_form[2 + dy, 2 + dx], abs=0.02)


@pytest.mark.parametrize('quality', [30, 60, 90])
def test_compression_is_that_of_libjpeg(quality: int):
    image = data.astronaut()[:210, :203]  # no multiple of a block
    jpeg = torch.zeros(101)
    jpeg[quality] = 1
    mean = torch.from_numpy(image.transpose(2, 0, 1).copy())[None] / 255
    got = noise_with(jpeg=jpeg).sample(mean, torch.full_like(mean, -9.0), generator())
    encoded = cv2.imencode('.jpg', image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    expected = torch.from_numpy(cv2.imdecode(encoded, 1)[..., ::-1].transpose(2, 0, 1).copy())[None] / 255

    def luma(x: torch.Tensor) -> torch.Tensor:
        return torch.einsum('c,nchw->nhw', torch.tensor([0.299, 0.587, 0.114], dtype=x.dtype), x)

    # BasicSR's compression does not round the steps, and repeats pixels of the colours where libjpeg interpolates
    assert (luma(got) - luma(expected)).square().mean().sqrt() < 0.5 * (
        luma(mean) - luma(expected)
    ).square().mean().sqrt()


def test_qualities_are_drawn_for_each_image():
    jpeg = torch.zeros(101)
    jpeg[[0, 20, 80]] = torch.tensor([0.5, 0.25, 0.25])
    mean = torch.rand(1, 3, 16, 16).expand(400, -1, -1, -1)
    got = noise_with(jpeg=jpeg).sample(mean, torch.full_like(mean, -20.0), generator())
    errors = (got - mean).square().mean((1, 2, 3)).sqrt()
    counts = [int((errors < 1e-4).sum()), int((errors > 1e-4).sum())]
    assert errors.unique().numel() >= 3 and counts == pytest.approx([200, 200], abs=40)


def test_state_and_description_keep_the_sampler():
    taps = torch.zeros(TAPS, TAPS)
    taps[3, 1:6] = torch.tensor([0.1, 0.2, 0.9, 0.2, 0.1])
    jpeg = torch.zeros(101)
    jpeg[[0, 70]] = 0.5
    noise = noise_with(taps=taps, mix=torch.rand(3, 3), jpeg=jpeg, offset=torch.rand(3, KNOTS))
    mean, log_scale = torch.rand(3, 3, 20, 24), torch.ones(3, 3, 20, 24)
    expected = noise.sample(mean, log_scale, generator())
    loaded = CameraNoise()
    loaded.load_state_dict(noise.state_dict())
    for copy in (loaded, CameraNoise.from_description(noise.description())):
        assert (copy.radius, copy.compresses) == (2, True)
        assert torch.equal(copy.sample(mean, log_scale, generator()), expected)
