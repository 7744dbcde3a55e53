"""Python interface of the README: upscaling and sampling."""

from pathlib import Path

import numpy as np
import pytest
import torch
from basicsr.archs.srvgg_arch import SRVGGNetCompact

from published import dsn_file, srn_file
from python_process import check_python
from sample_images import sample_image
from usrdu_basicsr import LRSampler, Upscaler, load_sampler, load_upscaler
from usrdu_basicsr.archs.dsn_arch import UncertaintyDSN
from usrdu_basicsr.utils.errors import InputError


def test_upscale(tmp_path: Path):
    net = SRVGGNetCompact(num_feat=4, num_conv=1, upscale=2)
    torch.save({'params': net.state_dict()}, tmp_path / 'net.pth')
    image = sample_image(height=20, width=24)
    upscale = load_upscaler(tmp_path / 'net.pth', device='cpu')
    np.testing.assert_array_equal(upscale(image), Upscaler(net)(image))
    settings = load_upscaler(str(tmp_path / 'net.pth'), tile=32, self_ensemble=True, outscale=3)
    assert settings(image).shape == (60, 72, 3) and settings.tile == 32
    with pytest.raises(InputError, match='precision'):
        load_upscaler(tmp_path / 'net.pth', precision='fp8')


@pytest.fixture(scope='module')
def dsn() -> UncertaintyDSN:
    torch.manual_seed(0)
    net = UncertaintyDSN(num_feat=8, num_block=1, residual=True)
    net.log_scale_head[-2].bias.data.fill_(0.7)
    return net.eval()


def test_samples_have_the_predicted_distribution(dsn: UncertaintyDSN):
    """Without clipping, the mean and the mean absolute deviation of the samples equal the prediction."""
    image = np.full((40, 48, 3), (90, 120, 150), np.uint8)
    mean, log_scale = LRSampler(dsn).predict(image.astype(np.float32) / 255)
    samples = LRSampler(dsn)(image, 2000, seed=1)[..., ::-1].astype(np.float64)
    assert samples.shape == (2000, 10, 12, 3)
    assert np.abs(samples.mean(0) - mean * 255).max() < 0.4
    scale = np.abs(samples - mean * 255).mean(0)
    assert 1.5 < np.exp(log_scale).mean() < 3 and np.abs(scale / np.exp(log_scale) - 1).max() < 0.12


def test_samples_depend_on_the_seed(dsn: UncertaintyDSN):
    sample, image = LRSampler(dsn), sample_image(height=41, width=50)
    first = sample(image, 3, seed=1)
    assert first.shape == (3, 10, 12, 3) and first.dtype == np.uint8
    np.testing.assert_array_equal(sample(image, 3, seed=1), first)
    np.testing.assert_array_equal(sample(image.astype(np.uint16) * 257, 3, seed=1), first)
    np.testing.assert_array_equal(sample(image, 2, seed=1), first[:2])
    assert (sample(image, 1, seed=2)[0] != first[0]).mean() > 0.5
    assert (sample(image)[0] != sample(image)[0]).mean() > 0.5
    assert (first[0] != first[1]).mean() > 0.5


@pytest.mark.parametrize(
    ('image', 'count', 'message'),
    [
        (np.zeros((3, 40, 3), np.uint8), 1, r'got shape \(3, 40, 3\), expected \(H, W, 3\) of at least 4 pixels'),
        (np.zeros((40, 40), np.uint8), 1, r'got shape \(40, 40\)'),
        (np.zeros((40, 40, 4), np.uint8), 1, r'got shape \(40, 40, 4\)'),
        (np.zeros((40, 40, 3), np.int32), 1, 'got int32'),
        (np.zeros((40, 40, 3), np.uint8), 0, 'count: got 0'),
    ],
)
def test_invalid_sampling_input(dsn: UncertaintyDSN, image: np.ndarray, count: int, message: str):
    with pytest.raises(InputError, match=message):
        LRSampler(dsn)(image, count)


def test_published_checkpoints(tmp_path: Path):
    torch.save(srn_file(), tmp_path / 'srn.pth')
    torch.save(dsn_file(), tmp_path / 'dsn.pth')
    image = sample_image(height=16, width=20)
    assert load_upscaler(tmp_path / 'srn.pth')(image).shape == (64, 80, 3)
    for name in ('srn.pth', 'dsn.pth'):
        assert load_sampler(tmp_path / name)(image, 5).shape == (5, 4, 5, 3)


def test_package_import_is_cheap(tmp_path: Path):
    """Every start of Python with the hook imports the package, so heavy modules are imported on first use."""
    script = """
import sys
before = set(sys.modules)
import usrdu_basicsr
assert not {'torch', 'basicsr', 'numpy', 'typing'} & (set(sys.modules) - before)
try:
    usrdu_basicsr.load_upscalers
except AttributeError as error:
    assert "no attribute 'load_upscalers'" in str(error)
sys.modules['torch'] = None  # makes `import torch` fail
try:
    usrdu_basicsr.load_upscaler
except ModuleNotFoundError as error:
    assert error.name == 'torch'
else:
    raise AssertionError
"""
    check_python('-c', script, cwd=tmp_path)
