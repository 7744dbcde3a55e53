"""The strength of upscaling: bicubic upscaling or an earlier network at 0, the network at 1, monotonic between."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from basicsr.archs.srvgg_arch import SRVGGNetCompact

from python_process import ROOT, check_script, run_script
from sample_images import sample_image
from usrdu_basicsr.inference.strength import interpolate_weights
from usrdu_basicsr.inference.upscaler import Upscaler, load_upscaler
from usrdu_basicsr.utils.errors import InputError


def network(seed: int, **settings: int) -> SRVGGNetCompact:
    torch.manual_seed(seed)
    return SRVGGNetCompact(**{'num_feat': 8, 'num_conv': 1, 'upscale': 2} | settings).eval()


@pytest.mark.parametrize('tile', [0, 32])
def test_bicubic_upscaling_and_between(tile: int):
    image = sample_image(height=40, width=56).astype(np.float32) / 255
    results = [Upscaler(network(0), tile=tile, strength=strength)(image) for strength in (0, 0.25, 0.5, 1)]
    bicubic = cv2.resize(image, (112, 80), interpolation=cv2.INTER_CUBIC).clip(0, 1)
    np.testing.assert_allclose(results[0], bicubic, atol=1e-5 if tile == 0 else 0.02)
    np.testing.assert_array_equal(results[3], Upscaler(network(0), tile=tile)(image))
    inner = (results[0] > 0) & (results[0] < 1) & (results[3] > 0) & (results[3] < 1)
    for result, strength in ((results[1], 0.25), (results[2], 0.5)):
        expected = results[0] + strength * (results[3] - results[0])
        np.testing.assert_allclose(result[inner], expected[inner], atol=1e-5)


def test_weights_between_two_networks():
    fitted, base, between = network(0), network(1), network(0)
    interpolate_weights(between, base, 0.25)
    for name, value in between.state_dict().items():
        torch.testing.assert_close(value, 0.75 * base.state_dict()[name] + 0.25 * fitted.state_dict()[name])
    with pytest.raises(InputError, match='base: got SRVGGNetCompact of other weights than the model, expected'):
        interpolate_weights(fitted, network(1, num_feat=4), 0.5)


@pytest.mark.parametrize('strength', [-0.1, 1.1, float('nan')])
def test_wrong_strength(strength: float):
    with pytest.raises(InputError, match=r'strength: got .*, expected a number from 0 to 1'):
        Upscaler(network(0), strength=strength)


def test_command(tmp_path: Path):
    image = sample_image(height=20, width=24)
    cv2.imwrite(str(tmp_path / 'image.png'), image)
    for seed in (0, 1):
        torch.save({'params': network(seed).state_dict()}, tmp_path / f'{seed}.pth')
    script = ROOT / 'scripts' / 'inference.py'
    arguments = ('-i', 'image.png', '-o', 'out', '--model_path', '0.pth')
    result = lambda: cv2.imread(str(tmp_path / 'out' / 'image.png'))  # noqa: E731
    assert '1 written' in check_script(script, *arguments, '--strength', '0.5', cwd=tmp_path)
    np.testing.assert_array_equal(result(), load_upscaler(tmp_path / '0.pth', strength=0.5)(image))
    assert '1 written' in check_script(script, *arguments, '--strength', '0', '--base', '1.pth', cwd=tmp_path)
    np.testing.assert_array_equal(result(), Upscaler(network(1))(image))
    assert '1 skipped' in check_script(script, *arguments, '--strength', '0', '--base', '1.pth', cwd=tmp_path)
    error = run_script(script, *arguments, '--base', '1.pth', cwd=tmp_path)
    assert error.returncode == 2 and '--base needs --strength' in error.stderr
