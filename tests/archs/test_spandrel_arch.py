"""Published networks that spandrel reads: as generators of stage 2, in inference, and read by spandrel again."""

from pathlib import Path

import numpy as np
import pytest
import spandrel
import torch
from basicsr.archs.edsr_arch import EDSR
from safetensors.torch import save_file
from spandrel.architectures.PLKSR import RealPLKSR
from spandrel.architectures.SPAN import SPAN
from spandrel.architectures.SwinIR import SwinIR
from torch import nn

from sample_images import sample_image
from tiny_runs import build_model, generated_batch, srn_options
from usrdu_basicsr.archs.spandrel_arch import SpandrelArch
from usrdu_basicsr.inference.load_network import scale_of, size_multiple
from usrdu_basicsr.inference.upscaler import load_upscaler
from usrdu_basicsr.utils.errors import InputError, InputNotFoundError

SWIN = {'depths': [2], 'num_heads': [2], 'embed_dim': 12, 'window_size': 8, 'upsampler': 'pixelshuffle'}


def network(name: str) -> nn.Module:
    torch.manual_seed(0)
    if name == 'SPAN':
        return SPAN(num_in_ch=3, num_out_ch=3, feature_channels=8, upscale=4)
    if name == 'RealPLKSR':
        return RealPLKSR(dim=8, n_blocks=2, upscaling_factor=2)
    return SwinIR(**SWIN, upscale=2)


@pytest.mark.parametrize(('name', 'scale', 'multiple'), [('SPAN', 4, 1), ('RealPLKSR', 2, 1), ('SwinIR', 2, 16)])
def test_networks_equal_those_of_spandrel(tmp_path: Path, name: str, scale: int, multiple: int):
    torch.save({'params': network(name).state_dict()}, tmp_path / 'net.pth')
    save_file(network(name).state_dict(), tmp_path / 'net.safetensors')
    expected = spandrel.ModelLoader('cpu').load_from_file(tmp_path / 'net.pth')
    image = sample_image(height=48, width=64)  # no padding, which differs
    x = torch.from_numpy(image[..., ::-1] / np.float32(255)).permute(2, 0, 1)[None]
    for file in ('net.pth', 'net.safetensors'):
        net = SpandrelArch(str(tmp_path / file))
        assert net.training and sum(p.requires_grad for p in net.parameters()) > 10
        assert (scale_of(net), size_multiple(net)) == (scale, multiple)
        with torch.no_grad():
            torch.testing.assert_close(net.eval()(x[..., :32, :32]).clamp(0, 1), expected(x[..., :32, :32]))
    for file in ('net.pth', 'net.safetensors'):
        upscaled = load_upscaler(tmp_path / file, 'cpu')(image)
        np.testing.assert_allclose(upscaled, 255 * expected(x)[0].permute(1, 2, 0).numpy()[..., ::-1], atol=0.51)


def test_training_and_its_result(tmp_path: Path):
    state = network('SPAN').state_dict()
    torch.save({'params': state}, tmp_path / 'span.pth')
    published = {name: value for name, value in state.items() if 'eval_conv' not in name}  # computed from the others
    opt = srn_options(tmp_path) | {'network_g': {'type': 'SpandrelArch', 'path': str(tmp_path / 'span.pth')}}
    model = build_model(opt)
    assert {n for n, p in model.net_g.named_parameters() if p.requires_grad} == set(published)
    assert all(torch.equal(model.net_g.state_dict()[name], value) for name, value in published.items())
    model.feed_data(generated_batch())
    model.optimize_parameters(1)
    model.save(0, 1)
    trained = tmp_path / 'models' / 'net_g_1.pth'
    descriptor = spandrel.ModelLoader('cpu').load_from_file(trained)
    assert (descriptor.architecture.name, descriptor.scale) == ('SPAN', 4)
    averaged = torch.load(trained, weights_only=True)['params_ema']
    assert all(torch.equal(descriptor.model.state_dict()[name], averaged[name]) for name in published)
    assert not any(torch.equal(averaged[name], value) for name, value in published.items())


def test_files_that_are_refused(tmp_path: Path):
    torch.save({'params': {'weight': torch.ones(3)}}, tmp_path / 'unknown.pth')
    torch.save({'params': SPAN(num_in_ch=1, num_out_ch=1, feature_channels=8).state_dict()}, tmp_path / 'gray.pth')
    (tmp_path / 'damaged.safetensors').write_bytes(b'1234567890')
    for file, message in (
        ('unknown.pth', r'is not one that spandrel reads .* Choose another model'),
        ('gray.pth', 'got SPAN of 1 to 1 channels, expected an SR network for RGB images'),
        ('damaged.safetensors', 'cannot read model .*: corrupt or not a model'),
    ):
        with pytest.raises(InputError, match=message):
            SpandrelArch(str(tmp_path / file))
    with pytest.raises(InputNotFoundError, match=r"model '.*none\.safetensors' does not exist"):
        SpandrelArch(str(tmp_path / 'none.safetensors'))
    torch.save({'params': EDSR(3, 3, num_feat=8, num_block=1, upscale=2).state_dict()}, tmp_path / 'edsr.pth')
    with pytest.raises(InputError, match='is neither RRDBNet nor SRVGGNetCompact'):
        load_upscaler(tmp_path / 'edsr.pth', 'cpu')
