"""Networks built from a checkpoint without options."""

from pathlib import Path

import pytest
import torch
from basicsr.archs.rrdbnet_arch import RRDBNet
from basicsr.archs.srresnet_arch import MSRResNet
from basicsr.archs.srvgg_arch import SRVGGNetCompact

from usrdu_basicsr.archs.dsn_arch import UncertaintyDSN
from usrdu_basicsr.archs.kernel_dsn_arch import KernelDSN
from usrdu_basicsr.inference.load_network import load_generator, scale_of
from usrdu_basicsr.utils.device import pick_device
from usrdu_basicsr.utils.errors import InputError

CPU = torch.device('cpu')


def save_network(folder: Path, net: torch.nn.Module, key: str = 'params') -> Path:
    torch.save({key: net.state_dict()}, folder / 'net.pth')
    return folder / 'net.pth'


@pytest.mark.parametrize(
    'net',
    [
        RRDBNet(3, 3, scale=4, num_feat=8, num_block=2, num_grow_ch=4),
        RRDBNet(3, 3, scale=2, num_feat=8, num_block=1, num_grow_ch=4),
        RRDBNet(3, 3, scale=1, num_feat=8, num_block=1, num_grow_ch=4),
        SRVGGNetCompact(num_feat=8, num_conv=3, upscale=4),
        SRVGGNetCompact(num_feat=16, num_conv=1, upscale=2),
    ],
)
@pytest.mark.parametrize('key', ['params', 'params_ema'])
def test_network_is_detected(tmp_path: Path, net: torch.nn.Module, key: str):
    loaded = load_generator(save_network(tmp_path, net, key), CPU)
    assert type(loaded) is type(net)
    x = torch.rand(1, 3, 8, 12)
    with torch.no_grad():
        expected = net(x)
    assert torch.equal(loaded(x), expected)
    assert scale_of(loaded) == expected.shape[-1] // 12


def test_other_networks_require_options(tmp_path: Path):
    path = save_network(tmp_path, MSRResNet(num_feat=8, num_block=1))
    with pytest.raises(InputError, match='neither RRDBNet nor SRVGGNetCompact'):
        load_generator(path, CPU)
    network = {'type': 'MSRResNet', 'num_feat': 8, 'num_block': 1}
    assert scale_of(load_generator(path, CPU, network)) == 4
    safetensors = pytest.importorskip('safetensors.torch')
    safetensors.save_file(MSRResNet(num_feat=8, num_block=1).state_dict(), tmp_path / 'net.safetensors')
    assert scale_of(load_generator(tmp_path / 'net.safetensors', CPU, network)) == 4
    with pytest.raises(InputError, match='does not fit MSRResNet'):
        load_generator(path, CPU, {'type': 'MSRResNet', 'num_feat': 16, 'num_block': 1})


@pytest.mark.parametrize(
    ('net', 'kind'), [(UncertaintyDSN(num_feat=4, num_block=1), 'stage 1 DSN'), (KernelDSN(17, 2), 'measured camera')]
)
def test_networks_that_downsample_are_rejected_for_upscaling(tmp_path: Path, net: torch.nn.Module, kind: str):
    with pytest.raises(InputError, match=f'is a {kind}, which downsamples'):
        load_generator(save_network(tmp_path, net), CPU)


def test_invalid_network_options_are_reported(tmp_path: Path):
    path = save_network(tmp_path, MSRResNet(num_feat=8, num_block=1))
    for network, message in (
        ({'type': 'MSRResNet', 'num_feet': 8}, "network_g: invalid settings of MSRResNet: .*'num_feet'"),
        ({'type': 'MSResNet'}, "network_g: type: got 'MSResNet', which is not registered"),
    ):
        with pytest.raises(InputError, match=message):
            load_generator(path, CPU, network)


@pytest.mark.skipif(torch.cuda.is_available(), reason='needs a machine without a GPU')
@pytest.mark.parametrize('name', ['cuda', 'cuda:1', 'gpu', 'mps'])
def test_unavailable_device_is_reported(name: str):
    with pytest.raises(InputError, match=f"device '{name}' is not available: (expected cpu|torch found 0 CUDA GPUs)"):
        pick_device(name)
