"""Checkpoints of the published implementation and of ESRGAN: loading and conversion."""

from pathlib import Path

import pytest
import torch
from basicsr.archs.discriminator_arch import UNetDiscriminatorSN
from basicsr.archs.rrdbnet_arch import RRDBNet
from basicsr.archs.srvgg_arch import SRVGGNetCompact
from torch import Tensor, nn

from published import dsn_file, image, published_discriminator, published_weights, relative_error, srn_file, vectors
from python_process import ROOT, check_script, run_script
from usrdu_basicsr.archs.dsn_arch import UncertaintyDSN
from usrdu_basicsr.compat.preflight import check_networks
from usrdu_basicsr.export.convert_checkpoint import convert_checkpoint
from usrdu_basicsr.inference.load_network import load_dsn, load_generator
from usrdu_basicsr.models.base_model import USRDUBaseModel
from usrdu_basicsr.utils.checkpoint import read_weights
from usrdu_basicsr.utils.errors import InputError

CPU = torch.device('cpu')
TOLERANCE = 1e-4  # relative error
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
def test_published_dsn_checkpoint(tmp_path: Path, keys: tuple[str, ...], zipped: bool):
    path = saved(tmp_path / 'dsn.pth', {key: value for key, value in dsn_file().items() if key in keys}, zipped)
    assert_published_dsn(load_dsn(path, CPU))
    with pytest.raises(InputError, match='is a stage 1 DSN'):
        load_generator(path, CPU)


def test_published_sr_checkpoint(tmp_path: Path):
    path = saved(tmp_path / 'srn.pth', srn_file())
    net = load_generator(path, CPU)
    assert isinstance(net, RRDBNet) and net.scale == 4
    assert_published_srn(net)
    log_scale = outputs(load_dsn(path, CPU), image(11, 2, 128, 128)).log_scale
    assert relative_error(log_scale, vectors('srn')['logb']) < TOLERANCE


@pytest.mark.parametrize('prefix', ['', 'module.'])
def test_original_esrgan_names(tmp_path: Path, prefix: str):
    weights = {f'{prefix}{name}': value for name, value in published_weights('srn', 'RRDBNet_U.').items()}
    assert_published_srn(load_generator(saved(tmp_path / 'RRDB_PSNR_x4.pth', weights), CPU))


def test_real_esrgan_checkpoints(tmp_path: Path):
    """These checkpoints use BasicSR's names: https://github.com/xinntao/Real-ESRGAN/blob/master/docs/model_zoo.md"""
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


@pytest.mark.slow
def test_conversion_script(tmp_path: Path):
    saved(tmp_path / 'track1.pth', dsn_file())
    saved(tmp_path / 'ep420.pth', srn_file())
    output = check_script(SCRIPT, '-i', 'track1.pth', '-o', 'out', cwd=tmp_path)
    assert 'out/track1_dsn.pth: UncertaintyDSN, scale 4, ' in output
    assert 'out/track1_discriminator.pth: UNetDiscriminatorSN' in output
    check_script(SCRIPT, '-i', 'ep420.pth', '-o', 'out', cwd=tmp_path)
    out = tmp_path / 'out'
    assert sorted(path.name for path in out.iterdir()) == [
        *('ep420_dsn.pth', 'ep420_srn.pth', 'track1_discriminator.pth', 'track1_dsn.pth')
    ]
    assert_published_dsn(load_dsn(out / 'track1_dsn.pth', CPU))
    assert_published_srn(load_generator(out / 'ep420_srn.pth', CPU))
    assert list(torch.load(out / 'ep420_srn.pth', weights_only=True)) == ['params']
    discriminator = UNetDiscriminatorSN(3)
    discriminator.load_state_dict(torch.load(out / 'track1_discriminator.pth', weights_only=True)['params'])

    before = (out / 'track1_dsn.pth').read_bytes()
    refused = run_script(SCRIPT, '-i', 'track1.pth', '-o', 'out', cwd=tmp_path)
    assert refused.returncode == 1 and refused.stderr.startswith("error: output 'out/track1_dsn.pth' already exists")
    check_script(SCRIPT, '-i', 'track1.pth', '-o', 'out', '--overwrite', cwd=tmp_path)
    assert (out / 'track1_dsn.pth').read_bytes() == before


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
        (
            'gen',
            {'var.0.bias': torch.ones(3)},
            r'1 of another shape \(log_scale_head.0.bias: got \[3\], expected \[64\]\)',
        ),
        (
            'gen',
            {'block_output.weight': torch.ones(5)},
            r'1 of another shape \(conv_mean.weight: got \[5\], expected \[',
        ),
        ('dis', {'conv5.weight_u': None, 'conv9.bias': None}, r'2 missing \(conv5.weight_u, conv9.bias\)'),
        ('dis', {'conv0.weight': None}, 'missing conv0.weight'),
        ('params', {'RRDBNet_U.HRconv.bias': None}, r'1 missing \(conv_hr.bias\)'),
        ('params', {'RRDBNet_U.conv_last.weight': None}, r'1 missing \(conv_last.weight\)'),
        ('params', {'RRDBNet_U.RRDB_trunk.1.RDB2.conv3.weight': torch.ones(8, 32, 1, 1)}, r'body.1.rdb2.conv3.weight'),
        ('params', {'RRDBNet_U.conv_first.weight': torch.ones(3)}, 'conv_first.weight'),
        ('params', {'RRDBNet_U.HRconv.bias': torch.ones(16, dtype=torch.int32)}, r'1 of another dtype or layout'),
        (
            'params',
            {'RRDBNet_U.HRconv.bias': torch.ones(16).to_sparse()},
            r'of another dtype or layout \(conv_hr.bias\)',
        ),
        ('params', {'RRDBNet_X.weight': torch.ones(3)}, r'1 unexpected \(RRDBNet_X.weight\)'),
        ('params', {'RRDBNet_var.block_output.bias': None}, r'1 missing \(conv_mean.bias\)'),
    ],
)
def test_mismatched_parameters_are_named(tmp_path: Path, part: str, change: dict, message: str):
    content = srn_file() if part == 'params' else dsn_file()
    content[part] = {key: value for key, value in (content[part] | change).items() if value is not None}
    path = saved(tmp_path / 'file.pth', content)
    with pytest.raises(InputError, match=message):
        convert_checkpoint(path, tmp_path / 'out')
    assert not (tmp_path / 'out').exists()


def test_other_formats_are_refused(tmp_path: Path):
    for content, message in (
        ({'gen': {}, 'dis': {}}, 'contains no network'),
        ({'gen': {'a': 1}}, 'contains no network'),
        ({'params': {'RRDBNet_U.x': 'text'}}, 'contains no network'),
        ({'model.weight': torch.ones(2)}, 'neither RRDBNet nor SRVGGNetCompact'),
        ({1: torch.ones(2)}, 'contains no network'),
        ({'params': {1: torch.ones(2)}}, 'contains no network'),
        ({'params': {'RRDBNet_U.conv_last.weight': torch.ones(3, 16, 3, 3)}}, 'neither RRDBNet nor'),
        ({'params': {'RRDBNet_U.trunk_conv.weight': torch.ones(16, 16, 3, 3)}}, 'does not fit RRDBNet: .* missing'),
        ({'gen': {'per_var.0.weight': torch.ones(64, 64, 3, 3)}}, 'does not fit UncertaintyDSN: .* missing'),
    ):
        with pytest.raises(InputError, match=message):
            convert_checkpoint(saved(tmp_path / 'file.pth', content), tmp_path / 'out')


def test_published_checkpoints_in_pretrain_options(tmp_path: Path):
    """Each network selects its weights in a published file, both in the preflight check and on loading."""
    dsn, srn = saved(tmp_path / 'dsn.pth', dsn_file()), saved(tmp_path / 'srn.pth', srn_file())
    small = {'type': 'RRDBNet', 'num_in_ch': 3, 'num_out_ch': 3, 'num_feat': 16, 'num_block': 2, 'num_grow_ch': 8}
    dsn_options = {'type': 'UncertaintyDSN'}
    discriminator = {'type': 'UNetDiscriminatorSN_basicsr', 'num_in_ch': 3}
    stage_1 = {'is_train': True, 'scale': 4, 'network_g': dsn_options, 'network_d': discriminator}
    stage_2 = {'is_train': True, 'scale': 4, 'network_g': small, 'network_dsn': dsn_options}
    check_networks(stage_1, {'pretrain_network_g': dsn, 'pretrain_network_d': dsn})
    check_networks(stage_2, {'pretrain_network_g': srn, 'pretrain_network_dsn': srn})
    check_networks(stage_2, {'pretrain_network_dsn': dsn})
    with pytest.raises(InputError, match='does not fit RRDBNet'):
        check_networks(stage_2, {'pretrain_network_g': dsn})

    model = USRDUBaseModel.__new__(USRDUBaseModel)
    nets = [UncertaintyDSN(), UNetDiscriminatorSN(3), RRDBNet(3, 3, num_feat=16, num_block=2, num_grow_ch=8)]
    for net, path in zip(nets, (dsn, dsn, srn), strict=True):
        model.load_network(net, str(path))
    assert_published_dsn(nets[0])
    assert all(torch.equal(nets[1].state_dict()[key], value) for key, value in published_discriminator().items())
    assert_published_srn(nets[2])


def test_basicsr_checkpoint_is_read_by_key(tmp_path: Path):
    first, average = {'a': torch.zeros(2)}, {'module.a': torch.ones(2)}
    path = saved(tmp_path / 'net.pth', {'params': first, 'params_ema': average})
    assert torch.equal(read_weights(path, 'params', ['b'])['a'], torch.zeros(2))
    assert torch.equal(read_weights(path, 'params_ema', ['b'])['a'], torch.ones(2))


def test_safetensors_export_is_refused(tmp_path: Path):
    (tmp_path / 'net.safetensors').touch()
    with pytest.raises(InputError, match=r"net.safetensors' is an export for other programs. Use the .pth"):
        load_dsn(tmp_path / 'net.safetensors', CPU)
