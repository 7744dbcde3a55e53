"""Inference: networks built from their checkpoint alone, pixels, files that fail."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from basicsr.archs.edsr_arch import EDSR
from basicsr.archs.rrdbnet_arch import RRDBNet
from basicsr.archs.srresnet_arch import MSRResNet
from basicsr.archs.srvgg_arch import SRVGGNetCompact

from photos import photo, write_photos
from usrdu_basicsr.archs.dsn_arch import UncertaintyDSN
from usrdu_basicsr.errors import InputError, InputNotFoundError
from usrdu_basicsr.pipeline.load_network import load_generator, pick_device, scale_of
from usrdu_basicsr.pipeline.upscale import upscale, upscale_files

CPU = torch.device('cpu')


def saved(folder: Path, net: torch.nn.Module, key: str = 'params') -> Path:
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
def test_networks_from_their_checkpoint(tmp_path: Path, net: torch.nn.Module, key: str):
    loaded = load_generator(saved(tmp_path, net, key), CPU)
    assert type(loaded) is type(net)
    x = torch.rand(1, 3, 8, 12)
    with torch.no_grad():
        expected = net(x)
    assert torch.equal(loaded(x), expected)
    assert scale_of(loaded) == expected.shape[-1] // 12


def test_other_networks_need_their_options(tmp_path: Path):
    path = saved(tmp_path, MSRResNet(num_feat=8, num_block=1))
    with pytest.raises(InputError, match='neither RRDBNet nor SRVGGNetCompact'):
        load_generator(path, CPU)
    assert scale_of(load_generator(path, CPU, {'type': 'MSRResNet', 'num_feat': 8, 'num_block': 1})) == 4
    with pytest.raises(InputError, match='does not fit MSRResNet'):
        load_generator(path, CPU, {'type': 'MSRResNet', 'num_feat': 16, 'num_block': 1})


def test_a_dsn_does_not_upscale(tmp_path: Path):
    with pytest.raises(InputError, match='is a stage 1 DSN'):
        load_generator(saved(tmp_path, UncertaintyDSN(num_feat=4, num_block=1)), CPU)


def test_pixels(tmp_path: Path):
    net = load_generator(saved(tmp_path, SRVGGNetCompact(num_feat=8, num_conv=1, upscale=2)), CPU)
    image = photo(height=20, width=24)
    x = torch.from_numpy(image[..., ::-1].copy()).permute(2, 0, 1)[None] / 255
    expected = (net(x)[0].clamp(0, 1) * 255).round().permute(1, 2, 0).numpy()[..., ::-1]
    np.testing.assert_array_equal(upscale(net, image.astype(np.float32) / 255), expected)


def test_files_and_folders(tmp_path: Path):
    net = load_generator(saved(tmp_path, SRVGGNetCompact(num_feat=4, num_conv=1, upscale=2)), CPU)
    paths = write_photos(tmp_path / 'in', 2, 16, 20)
    (tmp_path / 'in' / 'notes.txt').write_text('no image')
    (tmp_path / 'in' / 'broken.png').write_bytes(paths[0].read_bytes()[:100])
    assert upscale_files(net, tmp_path / 'in', tmp_path / 'out') == ['broken.png']
    assert sorted(p.name for p in (tmp_path / 'out').iterdir()) == ['astronaut.png', 'chelsea.png']
    assert cv2.imread(str(tmp_path / 'out' / 'chelsea.png')).shape == (32, 40, 3)
    assert upscale_files(net, paths[0], tmp_path / 'one') == []
    assert (tmp_path / 'one' / 'astronaut.png').read_bytes() == (tmp_path / 'out' / 'astronaut.png').read_bytes()


def test_a_network_that_does_not_say_its_scale():
    net = EDSR(3, 3, num_feat=4, num_block=1, upscale=2).eval()
    assert scale_of(net) is None
    assert upscale(net, photo(height=10, width=12).astype(np.float32) / 255).shape == (20, 24, 3)


def test_settings_that_a_network_refuses(tmp_path: Path):
    path = saved(tmp_path, MSRResNet(num_feat=8, num_block=1))
    for network, message in (
        ({'type': 'MSRResNet', 'num_feet': 8}, "network_g: MSRResNet refuses its settings: .*'num_feet'"),
        ({'type': 'MSResNet'}, "network_g: type: nothing is registered as 'MSResNet'"),
    ):
        with pytest.raises(InputError, match=message):
            load_generator(path, CPU, network)


def test_images_of_any_size(tmp_path: Path):
    """RRDBNet folds pixels for scales 2 and 1, which the image's size need not fit."""
    image = photo(height=13, width=10).astype(np.float32) / 255
    for scale in (1, 2, 4):
        net = RRDBNet(3, 3, scale=scale, num_feat=4, num_block=1, num_grow_ch=2)
        assert upscale(net, image).shape == (13 * scale, 10 * scale, 3)
    whole = upscale(RRDBNet(3, 3, scale=2, num_feat=4, num_block=1, num_grow_ch=2), image[:12])
    assert whole.shape == (24, 20, 3)


def test_no_file_is_overwritten(tmp_path: Path):
    net = SRVGGNetCompact(num_feat=4, num_conv=1)
    (path,) = write_photos(tmp_path / 'in', 1, 16, 20)
    before = path.read_bytes()
    for source in (tmp_path / 'in', path):
        with pytest.raises(InputError, match='is the folder of the input'):
            upscale_files(net, source, tmp_path / 'out' / '..' / 'in')
    write_photos(tmp_path / 'in', 1, 16, 20, 'jpg')
    with pytest.raises(InputError, match='would share a name'):
        upscale_files(net, tmp_path / 'in', tmp_path / 'out')
    assert path.read_bytes() == before and not (tmp_path / 'out').exists()


def test_what_is_not_there(tmp_path: Path):
    net = SRVGGNetCompact(num_feat=4, num_conv=1)
    with pytest.raises(InputNotFoundError, match=r"no file or folder '.*nowhere'"):
        upscale_files(net, tmp_path / 'nowhere', tmp_path / 'out')
    (tmp_path / 'file').touch()
    with pytest.raises(InputError, match=r"output '.*file': '.*file' is a file"):
        upscale_files(net, tmp_path, tmp_path / 'file')


@pytest.mark.skipif(torch.cuda.is_available(), reason='needs a machine without a GPU')
@pytest.mark.parametrize('name', ['cuda', 'cuda:1', 'gpu'])
def test_a_device_that_is_not_there(name: str):
    with pytest.raises(InputError, match=f"device '{name}': (torch can use 0 CUDA GPUs here|expected cpu, cuda)"):
        pick_device(name)
