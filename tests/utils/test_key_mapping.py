"""Files of the published implementation and of ESRGAN: read as they are, and converted."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from basicsr.archs.discriminator_arch import UNetDiscriminatorSN
from basicsr.archs.rrdbnet_arch import RRDBNet
from basicsr.archs.srvgg_arch import SRVGGNetCompact
from torch import Tensor, nn

from published import dsn_file, image, published_discriminator, published_weights, relative_error, srn_file, vectors
from python_process import ROOT, check_python, run_python
from usrdu_basicsr.archs.dsn_arch import UncertaintyDSN
from usrdu_basicsr.export.convert_checkpoint import convert_checkpoint
from usrdu_basicsr.inference.load_network import load_dsn, load_generator
from usrdu_basicsr.models.checkpointed_base import CheckpointedModel
from usrdu_basicsr.options.preflight import check_networks
from usrdu_basicsr.utils.checkpoint import read_weights
from usrdu_basicsr.utils.errors import InputError

CPU = torch.device('cpu')
TOLERANCE = 1e-4  # relative error, as for the published implementation's other values
SCRIPT = ROOT / 'scripts' / 'convert_checkpoint.py'


def saved(path: Path, content: dict, zipped: bool = True) -> Path:
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    return path


def outputs(net: nn.Module, x: Tensor) -> Tensor:
    with torch.no_grad():
        return net(x)


def assert_published_dsn(net: UncertaintyDSN) -> None:
    expected = vectors('dsn')
    got = outputs(net, image(1, 2, 128, 128))
    for value, name in zip(got, ('mean', 'logb', 'per_logb'), strict=True):
        assert relative_error(value, expected[name]) < TOLERANCE


def assert_published_srn(net: nn.Module) -> None:
    expected = vectors('srn')
    assert relative_error(outputs(net, torch.from_numpy(expected['lr_sampled'])), expected['sr_before']) < TOLERANCE


@pytest.mark.parametrize(
    ('keys', 'zipped'),
    [
        (('gen', 'dis'), True),
        (('gen', 'dis', 'gen_opt', 'dis_opt', 'ep', 'total_it'), False),  # as torch wrote before version 1.6
    ],
)
def test_a_dsn_file(tmp_path: Path, keys: tuple[str, ...], zipped: bool):
    path = saved(tmp_path / 'dsn.pth', {key: value for key, value in dsn_file().items() if key in keys}, zipped)
    assert_published_dsn(load_dsn(path, CPU))
    with pytest.raises(InputError, match='is a stage 1 DSN'):
        load_generator(path, CPU)


def test_an_sr_file(tmp_path: Path):
    path = saved(tmp_path / 'srn.pth', srn_file())
    net = load_generator(path, CPU)
    assert isinstance(net, RRDBNet) and net.scale == 4
    assert_published_srn(net)
    log_scale = outputs(load_dsn(path, CPU), image(11, 2, 128, 128)).log_scale
    assert relative_error(log_scale, vectors('srn')['logb']) < TOLERANCE


@pytest.mark.parametrize('prefix', ['', 'module.'])
def test_first_names_of_esrgan(tmp_path: Path, prefix: str):
    weights = {f'{prefix}{name}': value for name, value in published_weights('srn', 'RRDBNet_U.').items()}
    assert_published_srn(load_generator(saved(tmp_path / 'RRDB_PSNR_x4.pth', weights), CPU))


def test_files_of_real_esrgan(tmp_path: Path):
    """They have BasicSR's names; https://github.com/xinntao/Real-ESRGAN/blob/master/docs/model_zoo.md"""
    for net, key in (
        (RRDBNet(3, 3, scale=2, num_feat=64, num_block=2, num_grow_ch=32), 'params_ema'),  # RealESRGAN_x2plus
        (RRDBNet(3, 3, scale=4, num_feat=64, num_block=6, num_grow_ch=32), 'params_ema'),  # ..._x4plus_anime_6B
        (SRVGGNetCompact(num_feat=64, num_conv=32, upscale=4), 'params'),  # realesr-general-x4v3
        (SRVGGNetCompact(num_feat=64, num_conv=16, upscale=4), 'params'),  # realesr-animevideov3
    ):
        (written,) = convert_checkpoint(saved(tmp_path / 'net.pth', {key: net.state_dict()}), tmp_path / 'out', True)
        assert written.name == 'net_srn.pth'
        x = torch.rand(1, 3, 8, 10)
        assert torch.equal(load_generator(written, CPU)(x), outputs(net.eval(), x))


def test_the_script(tmp_path: Path):
    saved(tmp_path / 'track1.pth', dsn_file())
    saved(tmp_path / 'ep420.pth', srn_file())
    out = check_python(SCRIPT, '-i', 'track1.pth', '-o', 'ours', cwd=tmp_path)
    assert 'ours/track1_dsn.pth: UncertaintyDSN, scale 4, ' in out
    assert 'ours/track1_discriminator.pth: UNetDiscriminatorSN' in out
    check_python(SCRIPT, '-i', 'ep420.pth', '-o', 'ours', cwd=tmp_path)
    ours = tmp_path / 'ours'
    assert sorted(path.name for path in ours.iterdir()) == [
        *('ep420_dsn.pth', 'ep420_srn.pth', 'track1_discriminator.pth', 'track1_dsn.pth')
    ]
    assert_published_dsn(load_dsn(ours / 'track1_dsn.pth', CPU))
    assert_published_srn(load_generator(ours / 'ep420_srn.pth', CPU))
    assert list(torch.load(ours / 'ep420_srn.pth', weights_only=True)) == ['params']
    discriminator = UNetDiscriminatorSN(3)
    discriminator.load_state_dict(torch.load(ours / 'track1_discriminator.pth', weights_only=True)['params'])

    before = (ours / 'track1_dsn.pth').read_bytes()
    again = run_python(SCRIPT, '-i', 'track1.pth', '-o', 'ours', cwd=tmp_path)
    assert again.returncode == 1 and again.stderr.startswith("error: 'ours/track1_dsn.pth' is there already")
    check_python(SCRIPT, '-i', 'track1.pth', '-o', 'ours', '--overwrite', cwd=tmp_path)
    assert (ours / 'track1_dsn.pth').read_bytes() == before


@pytest.mark.parametrize(
    ('part', 'change', 'message'),
    [
        ('gen', {'var.4.weight': None}, r'1 missing \(log_scale_head.4.weight\)'),
        ('gen', {'block_input.0.weight': None}, r'1 missing \(conv_first.0.weight\)'),
        (
            'gen',
            {'more.weight': torch.ones(1), 'var.9': torch.ones(1)},
            r'2 unexpected \(more.weight, log_scale',
        ),
        ('gen', {'var.0.bias': torch.ones(3)}, r'1 misshapen \(log_scale_head.0.bias \[3\] instead of \[64\]\)'),
        ('gen', {'block_output.weight': torch.ones(5)}, r'1 misshapen \(conv_mean.weight \[5\] instead of'),
        ('dis', {'conv5.weight_u': None, 'conv9.bias': None}, r'2 missing \(conv5.weight_u, conv9.bias\)'),
        ('dis', {'conv0.weight': None}, 'has no conv0.weight'),
        ('params', {'RRDBNet_U.HRconv.bias': None}, r'1 missing \(conv_hr.bias\)'),
        ('params', {'RRDBNet_U.conv_last.weight': None}, r'1 missing \(conv_last.weight\)'),
        ('params', {'RRDBNet_U.RRDB_trunk.1.RDB2.conv3.weight': torch.ones(8, 32, 1, 1)}, r'body.1.rdb2.conv3.weight'),
        ('params', {'RRDBNet_U.conv_first.weight': torch.ones(3)}, 'conv_first.weight'),
        ('params', {'RRDBNet_U.HRconv.bias': torch.ones(16, dtype=torch.int32)}, r'1 no dense floating-point'),
        (
            'params',
            {'RRDBNet_U.HRconv.bias': torch.ones(16).to_sparse()},
            r'no dense floating-point \(conv_hr.bias\)',
        ),
        ('params', {'RRDBNet_X.weight': torch.ones(3)}, r'1 unexpected \(RRDBNet_X.weight\)'),
        ('params', {'RRDBNet_var.block_output.bias': None}, r'1 missing \(conv_mean.bias\)'),
    ],
)
def test_what_does_not_fit_is_named(tmp_path: Path, part: str, change: dict, message: str):
    content = srn_file() if part == 'params' else dsn_file()
    content[part] = {key: value for key, value in (content[part] | change).items() if value is not None}
    path = saved(tmp_path / 'file.pth', content)
    with pytest.raises(InputError, match=message):
        convert_checkpoint(path, tmp_path / 'out')
    assert not (tmp_path / 'out').exists()


def test_other_files_are_refused(tmp_path: Path):
    for content, message in (
        ({'gen': {}, 'dis': {}}, 'holds no network'),
        ({'gen': {'a': 1}}, 'holds no network'),
        ({'params': {'RRDBNet_U.x': 'text'}}, 'holds no network'),
        ({'model.weight': torch.ones(2)}, 'neither RRDBNet nor SRVGGNetCompact'),
        ({1: torch.ones(2)}, 'holds no network'),
        ({'params': {1: torch.ones(2)}}, 'holds no network'),
        ({'params': {'RRDBNet_U.conv_last.weight': torch.ones(3, 16, 3, 3)}}, 'neither RRDBNet nor'),
        ({'params': {'RRDBNet_U.trunk_conv.weight': torch.ones(16, 16, 3, 3)}}, 'does not fit RRDBNet: .* missing'),
        ({'gen': {'per_var.0.weight': torch.ones(64, 64, 3, 3)}}, 'does not fit UncertaintyDSN: .* missing'),
    ):
        with pytest.raises(InputError, match=message):
            convert_checkpoint(saved(tmp_path / 'file.pth', content), tmp_path / 'out')


def test_paths_of_the_options(tmp_path: Path):
    """Each network finds its own in a published file: when the run is looked over, and when it is loaded."""
    dsn, srn = saved(tmp_path / 'dsn.pth', dsn_file()), saved(tmp_path / 'srn.pth', srn_file())
    small = {'type': 'RRDBNet', 'num_in_ch': 3, 'num_out_ch': 3, 'num_feat': 16, 'num_block': 2, 'num_grow_ch': 8}
    dsn_options = {'type': 'UncertaintyDSN'}
    discriminator = {'type': 'UNetDiscriminatorSN_basicsr', 'num_in_ch': 3}
    stage_1 = {'scale': 4, 'network_g': dsn_options, 'network_d': discriminator}
    stage_2 = {'scale': 4, 'network_g': small, 'network_dsn': dsn_options}
    check_networks(stage_1, {'pretrain_network_g': dsn, 'pretrain_network_d': dsn})
    check_networks(stage_2, {'pretrain_network_g': srn, 'pretrain_network_dsn': srn})
    check_networks(stage_2, {'pretrain_network_dsn': dsn})
    with pytest.raises(InputError, match='does not fit RRDBNet'):
        check_networks(stage_2, {'pretrain_network_g': dsn})

    model = CheckpointedModel.__new__(CheckpointedModel)
    nets = [UncertaintyDSN(), UNetDiscriminatorSN(3), RRDBNet(3, 3, num_feat=16, num_block=2, num_grow_ch=8)]
    for net, path in zip(nets, (dsn, dsn, srn), strict=True):
        model.load_network(net, str(path))
    assert_published_dsn(nets[0])
    assert all(torch.equal(nets[1].state_dict()[key], value) for key, value in published_discriminator().items())
    assert_published_srn(nets[2])


def test_a_file_of_ours_is_read_as_before(tmp_path: Path):
    first, average = {'a': torch.zeros(2)}, {'module.a': torch.ones(2)}
    path = saved(tmp_path / 'net.pth', {'params': first, 'params_ema': average})
    assert torch.equal(read_weights(path, 'params', ['b'])['a'], torch.zeros(2))
    assert torch.equal(read_weights(path, 'params_ema', ['b'])['a'], torch.ones(2))


def test_our_safetensors_are_told_from_checkpoints(tmp_path: Path):
    (tmp_path / 'net.safetensors').touch()
    with pytest.raises(InputError, match=r"net.safetensors' is an export for other programs: give the .pth"):
        load_generator(tmp_path / 'net.safetensors', CPU)
