"""Number formats: what is lowered and what is not, and what a device refuses."""

from __future__ import annotations

import pytest
import torch
from basicsr.archs.rrdbnet_arch import RRDBNet
from torch import nn

from published import image, load_generator, rrdb_name
from usrdu_basicsr.archs.dsn_arch import DSNOutput, UncertaintyDSN
from usrdu_basicsr.utils.errors import InputError
from usrdu_basicsr.utils.precision import FullPrecisionConv2d, Precision

CPU = torch.device('cpu')
pytestmark = pytest.mark.usefixtures('bf16_everywhere')


def levels(first: torch.Tensor, second: torch.Tensor) -> float:
    """Root of the mean squared difference, in gray levels."""
    return ((first - second) * 255).square().mean().sqrt().item()


@pytest.mark.parametrize(
    ('name', 'message'),
    [
        ('fp8', "precision: got 'fp8', expected fp32, tf32, bf16, fp16"),
        ('tf32', 'precision: tf32 cannot be used, as tf32 is for Nvidia GPUs: write fp32'),
        ('fp16', 'precision: fp16 cannot be used, as fp16 is for Nvidia GPUs: write fp32'),
    ],
)
def test_what_a_cpu_cannot_do_is_refused(name, message):
    with pytest.raises(InputError) as error:
        Precision(name, CPU)
    assert str(error.value) == message


def test_bf16_is_refused_on_cpus_without_it(monkeypatch):
    monkeypatch.setattr(torch.ops.mkldnn, '_is_mkldnn_bf16_supported', lambda: False)
    with pytest.raises(InputError, match='bf16 cannot be used, as this CPU has no instructions for it'):
        Precision('bf16', CPU)


@pytest.mark.parametrize(('capability', 'refused'), [((7, 5), {'tf32', 'bf16'}), ((8, 0), set())])
def test_gpus_before_ampere_have_fp16_alone(monkeypatch, capability, refused):
    monkeypatch.setattr(torch.cuda, 'get_device_capability', lambda device: capability)
    monkeypatch.setattr(torch.cuda, 'get_device_name', lambda device: 'Tesla T4')
    for name in ('fp32', 'tf32', 'bf16', 'fp16'):
        if name in refused:
            with pytest.raises(InputError, match=f'{name} cannot be used, as Tesla T4 is older than Ampere'):
                Precision(name, torch.device('cuda'))
        else:
            Precision(name, torch.device('cuda'))


@pytest.fixture
def flags_kept():
    flags = torch.backends.cuda.matmul, torch.backends.cudnn
    before = [flag.allow_tf32 for flag in flags]
    yield
    for flag, value in zip(flags, before, strict=True):
        flag.allow_tf32 = value


@pytest.mark.usefixtures('flags_kept')
def test_products_are_rounded_on_gpus_where_asked(monkeypatch):
    monkeypatch.setattr(torch.cuda, 'get_device_capability', lambda device: (9, 0))
    for name in ('fp32', 'tf32', 'bf16'):
        Precision(name, torch.device('cuda')).set_tf32()
        assert torch.backends.cudnn.allow_tf32 is torch.backends.cuda.matmul.allow_tf32 is (name == 'tf32')
        Precision('fp32', CPU).set_tf32()  # no business of a CPU's
        assert torch.backends.cudnn.allow_tf32 is (name == 'tf32')


def test_fp32_changes_nothing():
    net, x = load_generator(RRDBNet(3, 3, num_feat=16, num_block=2, num_grow_ch=8), rrdb_name), image(1, 1, 24, 32)
    precision = Precision('fp32', CPU)
    expected = net(x)
    precision.prepare(net)
    assert torch.equal(precision.run(net, x), expected)
    assert not any(isinstance(module, FullPrecisionConv2d) for module in net.modules())


def test_convolutions_of_images_stay_in_full_precision():
    net = nn.Sequential(nn.Conv2d(3, 32, 3), nn.Conv2d(32, 32, 3), nn.Conv2d(32, 3, 3))
    names, x, precision = list(net.state_dict()), image(1, 1, 24, 32), Precision('bf16', CPU)
    precision.prepare(net)
    seen = []
    for layer in net:
        layer.register_forward_hook(lambda layer, args, out: seen.append((args[0], out)))
    y = precision.run(net, x)
    assert [out.dtype for _, out in seen] == [torch.bfloat16, torch.bfloat16, torch.float32]
    assert torch.equal(seen[0][1], torch.conv2d(x, net[0].weight, net[0].bias).bfloat16())
    assert torch.equal(y, torch.conv2d(seen[2][0].float(), net[2].weight, net[2].bias))
    assert list(net.state_dict()) == names and all(value.dtype == torch.float32 for value in net.state_dict().values())
    y.sum().backward()
    assert all(parameter.grad.dtype == torch.float32 for parameter in net.parameters())
    # and outside, in validation, all is as it was
    expected = x
    for layer in net:
        expected = torch.conv2d(expected, layer.weight, layer.bias)
    assert torch.equal(net(x), expected)


def test_frozen_weights_are_lowered_once():
    net, x = nn.Sequential(nn.Conv2d(32, 32, 3), nn.Conv2d(32, 3, 3)), torch.rand(1, 32, 8, 8)
    precision = Precision('bf16', CPU)
    expected = precision.run(net, x)
    precision.prepare(net.requires_grad_(False))
    assert [layer.weight.dtype for layer in net] == [torch.bfloat16, torch.float32]
    partly = nn.Sequential(nn.Conv2d(32, 32, 3), nn.Conv2d(32, 32, 3))
    partly[0].requires_grad_(False)
    precision.prepare(partly)  # and saved, averaged and validated in float32
    assert {layer.weight.dtype for layer in partly} == {torch.float32}
    torch.testing.assert_close(precision.run(net, x), expected, rtol=0.01, atol=0.01)


def test_images_made_in_bf16_are_no_coarser_than_the_features():
    """Left to autocast, the last convolution would round images to steps of up to a gray level."""
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
    assert levels(plain, expected) > 0.25
    assert levels(got, expected) < 0.1


def test_outputs_come_in_float32_under_their_names():
    net, x = UncertaintyDSN(num_feat=16, num_block=1), image(1, 1, 64, 64)
    precision = Precision('bf16', CPU)
    precision.prepare(net)
    out = precision.run(net, x, with_features=False)
    assert out.mean.dtype == out.log_scale.dtype == torch.float32 and out.feature_log_scale is None
    assert type(out) is DSNOutput
    with torch.no_grad():
        assert levels(out.mean, net(x).mean) < 0.3
    pair, kept = precision.run(lambda x: ({'a': x.bfloat16()}, [None, 2]), x)
    assert pair['a'].dtype == torch.float32 and kept == [None, 2]
