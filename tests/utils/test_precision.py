"""Number formats: precision of convolutions and outputs, and formats that a device does not support."""

from copy import deepcopy

import pytest
import torch
from basicsr.archs.rrdbnet_arch import RRDBNet
from torch import nn
from torch.nn.utils import spectral_norm

from published import image, load_generator, rrdb_name
from usrdu_basicsr.archs.dsn_arch import DSNOutput, UncertaintyDSN
from usrdu_basicsr.utils.errors import InputError
from usrdu_basicsr.utils.precision import FullPrecisionConv2d, Precision

CPU = torch.device('cpu')
pytestmark = pytest.mark.usefixtures('bf16_everywhere')


def rms_error(first: torch.Tensor, second: torch.Tensor) -> float:
    """Root mean square of the difference, in gray levels."""
    return ((first - second) * 255).square().mean().sqrt().item()


@pytest.mark.parametrize(
    ('name', 'message'),
    [
        ('fp8', "precision: got 'fp8', expected one of fp32, tf32, bf16, fp16"),
        ('tf32', 'precision: tf32 is not supported: tf32 needs an Nvidia GPU. Use fp32'),
        ('fp16', 'precision: fp16 is not supported: fp16 needs an Nvidia GPU. Use fp32'),
    ],
)
def test_unsupported_formats_on_a_cpu(name, message):
    with pytest.raises(InputError) as error:
        Precision(name, CPU)
    assert str(error.value) == message


def test_cpu_without_bf16(monkeypatch):
    monkeypatch.setattr(torch.ops.mkldnn, '_is_mkldnn_bf16_supported', lambda: False)
    with pytest.raises(InputError, match='bf16 is not supported: this CPU has no bf16 instructions'):
        Precision('bf16', CPU)


@pytest.mark.parametrize(('capability', 'unsupported'), [((7, 5), {'tf32', 'bf16'}), ((8, 0), set())])
def test_gpus_before_ampere_support_only_fp16(monkeypatch, capability, unsupported):
    monkeypatch.setattr(torch.cuda, 'get_device_capability', lambda device: capability)
    monkeypatch.setattr(torch.cuda, 'get_device_name', lambda device: 'Tesla T4')
    for name in ('fp32', 'tf32', 'bf16', 'fp16'):
        if name in unsupported:
            with pytest.raises(InputError, match=f'{name} is not supported: Tesla T4 is older than Ampere'):
                Precision(name, torch.device('cuda'))
        else:
            Precision(name, torch.device('cuda'))


@pytest.fixture
def restored_flags():
    flags = torch.backends.cuda.matmul, torch.backends.cudnn
    before = [flag.allow_tf32 for flag in flags]
    yield
    for flag, value in zip(flags, before, strict=True):
        flag.allow_tf32 = value


@pytest.mark.usefixtures('restored_flags')
def test_tf32_is_enabled_only_on_request(monkeypatch):
    monkeypatch.setattr(torch.cuda, 'get_device_capability', lambda device: (9, 0))
    for name in ('fp32', 'tf32', 'bf16'):
        Precision(name, torch.device('cuda')).set_tf32()
        assert torch.backends.cudnn.allow_tf32 is torch.backends.cuda.matmul.allow_tf32 is (name == 'tf32')
        Precision('fp32', CPU).set_tf32()  # no effect on a CPU
        assert torch.backends.cudnn.allow_tf32 is (name == 'tf32')


@pytest.mark.parametrize('name', ['fp32', 'tf32'])
@pytest.mark.usefixtures('restored_flags')
def test_a_pass_restores_tf32(monkeypatch, name):
    monkeypatch.setattr(torch.cuda, 'get_device_capability', lambda device: (9, 0))
    flags = torch.backends.cuda.matmul, torch.backends.cudnn
    flags[0].allow_tf32, flags[1].allow_tf32 = False, True  # PyTorch's defaults
    within = []
    Precision(name, torch.device('cuda')).run(lambda: within.extend(flag.allow_tf32 for flag in flags))
    assert within == [name == 'tf32'] * 2 and [flag.allow_tf32 for flag in flags] == [False, True]


def test_fp32_leaves_the_network_unchanged():
    net, x = load_generator(RRDBNet(3, 3, num_feat=16, num_block=2, num_grow_ch=8), rrdb_name), image(1, 1, 24, 32)
    precision = Precision('fp32', CPU)
    expected = net(x)
    precision.prepare(net)
    assert torch.equal(precision.run(net, x), expected)
    assert not any(isinstance(module, FullPrecisionConv2d) for module in net.modules())


def test_image_convolutions_compute_in_float32():
    net = nn.Sequential(nn.Conv2d(3, 32, 3), nn.Conv2d(32, 32, 3), nn.Conv2d(32, 3, 3))
    names, x, precision = list(net.state_dict()), image(1, 1, 24, 32), Precision('bf16', CPU)
    precision.prepare(net)
    calls = []
    for layer in net:
        layer.register_forward_hook(lambda layer, args, out: calls.append((args[0], out)))
    y = precision.run(net, x)
    assert [out.dtype for _, out in calls] == [torch.bfloat16, torch.bfloat16, torch.float32]
    assert torch.equal(calls[0][1], torch.conv2d(x, net[0].weight, net[0].bias).bfloat16())
    assert torch.equal(y, torch.conv2d(calls[2][0].float(), net[2].weight, net[2].bias))
    assert list(net.state_dict()) == names and all(value.dtype == torch.float32 for value in net.state_dict().values())
    y.sum().backward()
    assert all(parameter.grad.dtype == torch.float32 for parameter in net.parameters())
    # without autocast, as in validation
    expected = x
    for layer in net:
        expected = torch.conv2d(expected, layer.weight, layer.bias)
    assert torch.equal(net(x), expected)


def test_replaced_convolutions_share_weights_buffers_and_hooks():
    """BasicSR's discriminators have spectral-norm hooks; a module may also occur twice."""
    shared, x, precision = nn.Conv2d(8, 8, 3), torch.rand(1, 3, 16, 16), Precision('bf16', CPU)
    net = nn.Sequential(spectral_norm(nn.Conv2d(3, 8, 3)), shared, shared)
    state, expected = {name: value.clone() for name, value in net.state_dict().items()}, deepcopy(net)(x)
    parameters = list(net.parameters())
    precision.prepare(net)
    assert all(type(layer) is FullPrecisionConv2d for layer in net)
    assert all(one is other for one, other in zip(net.parameters(), parameters, strict=True))
    assert list(net.state_dict()) == list(state) and torch.equal(net.state_dict()['0.weight_u'], state['0.weight_u'])
    assert torch.equal(net(x), expected)  # also updates the spectral norm
    assert not torch.equal(net.state_dict()['0.weight_u'], state['0.weight_u'])
    net.load_state_dict(state)
    assert torch.equal(net(x), expected)


def test_frozen_weights_are_converted_once():
    net, x = nn.Sequential(nn.Conv2d(32, 32, 3), nn.Conv2d(32, 3, 3)), torch.rand(1, 32, 8, 8)
    precision = Precision('bf16', CPU)
    expected = precision.run(net, x)
    precision.prepare(net.requires_grad_(False))
    assert [layer.weight.dtype for layer in net] == [torch.bfloat16, torch.float32]
    partly = nn.Sequential(nn.Conv2d(32, 32, 3), nn.Conv2d(32, 32, 3))
    partly[0].requires_grad_(False)
    precision.prepare(partly)  # its weights are saved, averaged and validated in float32
    assert {layer.weight.dtype for layer in partly} == {torch.float32}
    torch.testing.assert_close(precision.run(net, x), expected, rtol=0.01, atol=0.01)


def test_bf16_images_are_not_rounded_to_gray_levels():
    """With plain autocast the last convolution would round images to steps of up to a gray level."""
    net, x = load_generator(RRDBNet(3, 3, num_feat=16, num_block=2, num_grow_ch=8), rrdb_name), image(1, 1, 24, 32)
    precision = Precision('bf16', CPU)
    with torch.no_grad():
        net.conv_last.weight *= 0.1
        net.conv_last.bias += 0.75  # a bright image
        expected = net(x)
        with torch.autocast('cpu', torch.bfloat16):
            plain = net(x).float()
        precision.prepare(net)
        got = precision.run(net, x)
    assert rms_error(plain, expected) > 0.25
    assert rms_error(got, expected) < 0.1


def test_outputs_are_converted_to_float32():
    net, x = UncertaintyDSN(num_feat=16, num_block=1), image(1, 1, 64, 64)
    precision = Precision('bf16', CPU)
    precision.prepare(net)
    out = precision.run(net, x, with_features=False)
    assert out.mean.dtype == out.log_scale.dtype == torch.float32 and out.feature_log_scale is None
    assert type(out) is DSNOutput
    with torch.no_grad():
        assert rms_error(out.mean, net(x).mean) < 0.3
    outputs, others = precision.run(lambda x: ({'a': x.bfloat16()}, [None, 2]), x)
    assert outputs['a'].dtype == torch.float32 and others == [None, 2]
