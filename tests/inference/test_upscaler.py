"""Upscaling NumPy images: pixels of each kind, tiles, memory, other settings."""

from __future__ import annotations

import weakref
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from basicsr.archs.edsr_arch import EDSR
from basicsr.archs.rrdbnet_arch import RRDBNet
from basicsr.archs.srvgg_arch import SRVGGNetCompact
from torch import nn

from published import load_generator, rrdb_name
from python_process import run_script
from sample_images import sample_image
from usrdu_basicsr.inference import upscaler as module
from usrdu_basicsr.inference.upscaler import Upscaler
from usrdu_basicsr.utils.errors import InputError
from usrdu_basicsr.utils.memory import free_memory
from usrdu_basicsr.utils.precision import Precision

CPU = torch.device('cpu')


@pytest.fixture(scope='module')
def net() -> nn.Module:
    """Its result depends on every channel."""
    torch.manual_seed(0)
    return SRVGGNetCompact(num_feat=16, num_conv=2, upscale=2).eval()


def expected(net: nn.Module, image: np.ndarray) -> np.ndarray:
    """`(H, W, 3)` BGR in [0, 1], by the network alone."""
    x = torch.from_numpy(image[..., ::-1].astype(np.float32)).permute(2, 0, 1)[None]
    with torch.no_grad():
        return net(x)[0].clamp(0, 1).permute(1, 2, 0).numpy()[..., ::-1]


def psnr(first: np.ndarray, second: np.ndarray) -> float:
    return float(-10 * np.log10(((first.astype(np.float64) - second) ** 2).mean() + 1e-30))


def test_colour_of_each_depth(net: nn.Module):
    image = sample_image(height=20, width=24)
    result = expected(net, image / 255)
    upscale = Upscaler(net)
    np.testing.assert_array_equal(upscale(image), (result * 255).round().astype(np.uint8))
    deep = upscale(image.astype(np.uint16) * 257)
    assert deep.dtype == np.uint16 and np.abs(deep / 65535 - result).max() < 1e-5
    for kind in (np.float32, np.float64):
        floats = upscale((image / 255).astype(kind))
        assert floats.dtype == np.float32 and np.abs(floats - result).max() < 1e-6


def test_gray(net: nn.Module):
    image = cv2.cvtColor(sample_image(height=20, width=24), cv2.COLOR_BGR2GRAY)
    colour = expected(net, np.repeat(image[..., None], 3, axis=2) / 255)
    result = Upscaler(net)(image)
    assert result.shape == (40, 48)
    assert np.abs(result / 255 - cv2.cvtColor(np.ascontiguousarray(colour), cv2.COLOR_BGR2GRAY)).max() < 0.6 / 255
    np.testing.assert_array_equal(Upscaler(net)(image[..., None])[..., 0], result)


@pytest.mark.parametrize('kind', [np.uint8, np.uint16])
def test_transparency(net: nn.Module, kind: type):
    """Alpha is resized, colours are as without it."""
    most = np.iinfo(kind).max
    colour = (sample_image(height=20, width=24) / 255 * most).astype(kind)
    alpha = np.zeros((20, 24), kind)
    alpha[5:15, 6:18] = most
    result = Upscaler(net)(np.dstack([colour, alpha]))
    assert result.shape == (40, 48, 4) and result.dtype == kind
    np.testing.assert_array_equal(result[..., :3], Upscaler(net)(colour))
    assert (result[14:26, 16:32, 3] == most).all() and (result[:6, :, 3] == 0).all()
    opaque = Upscaler(net)(np.dstack([colour, np.full_like(alpha, most)]))
    assert (opaque[..., 3] == most).all()
    floats = Upscaler(net)(np.dstack([colour, alpha]).astype(np.float64) / most)
    assert floats.dtype == np.float32 and floats.min() >= 0 and floats.max() <= 1


@pytest.mark.parametrize('tile', [32, 40, 64, 1000, 0, None])
def test_tiles(net: nn.Module, tile: int | None):
    """Of a network that looks 4 pixels far, tiles that share 16 show nothing; smaller tiles share a quarter."""
    image = sample_image(height=75, width=90).astype(np.float32) / 255
    exact = tile is None or tile == 0 or tile >= 64
    assert psnr(Upscaler(net, tile=tile, overlap=16)(image), expected(net, image)) > (100 if exact else 60)


def test_tiles_of_rrdbnet_at_the_default_overlap():
    """Weights as large as those of trained networks: the published vectors' own."""
    rrdb = load_generator(RRDBNet(3, 3, num_feat=16, num_block=2, num_grow_ch=8), rrdb_name).eval()
    image = sample_image(height=150, width=180).astype(np.float32) / 255
    # the residual weights are 0.2 in each block, the result is noise of any size: brought to that of an image
    with torch.no_grad():
        y = rrdb(torch.rand(1, 3, 32, 32))
        rrdb.conv_last.weight.mul_(0.2 / y.std())
        rrdb.conv_last.bias.fill_(0.5)
    tiled, whole = Upscaler(rrdb, tile=128)(image), Upscaler(rrdb, tile=0)(image)
    assert 0.1 < whole.std() < 0.4
    assert psnr(tiled, whole) > 60


@pytest.mark.parametrize('scale', [1, 2, 4])
@pytest.mark.parametrize('tile', [0, 32])
def test_images_of_any_size(scale: int, tile: int):
    """RRDBNet folds pixels for scales 2 and 1, which neither the image's nor a tile's size need fit."""
    torch.manual_seed(0)
    rrdb = RRDBNet(3, 3, scale=scale, num_feat=4, num_block=1, num_grow_ch=2).eval()
    for height, width in ((13, 10), (47, 81), (1, 1), (3, 70)):
        image = sample_image(height=height, width=width).astype(np.float32) / 255
        result = Upscaler(rrdb, tile=tile, overlap=16)(image)
        assert result.shape == (height * scale, width * scale, 3)
        fold = 4 // scale
        padded = np.pad(image, ((0, -height % fold), (0, -width % fold), (0, 0)), mode='edge')
        assert psnr(result, expected(rrdb, padded)[: height * scale, : width * scale]) > 60


@pytest.mark.parametrize(('outscale', 'size'), [(1, (20, 24)), (1.5, (30, 36)), (2, (40, 48)), (3.3, (66, 79))])
def test_outscale(net: nn.Module, outscale: float, size: tuple[int, int]):
    image = sample_image(height=20, width=24)
    result = Upscaler(net, outscale=outscale)(np.dstack([image, image[..., 0]]))
    assert result.shape == (*size, 4)
    own = Upscaler(net)(image)
    how = cv2.INTER_AREA if outscale < 2 else cv2.INTER_CUBIC
    np.testing.assert_array_equal(result[..., :3], cv2.resize(own, size[::-1], interpolation=how))


def test_ensemble(net: nn.Module):
    image = sample_image(height=20, width=24).astype(np.float32) / 255
    ways = [
        (lambda x: x, lambda x: x),
        (np.flipud, np.flipud),
        (np.fliplr, np.fliplr),
        (np.rot90, lambda x: np.rot90(x, -1)),
    ]
    ways += [(lambda x: np.rot90(x, 2), lambda x: np.rot90(x, 2)), (lambda x: np.rot90(x, -1), np.rot90)]
    turn, mirror = (lambda x: x.swapaxes(0, 1)), (lambda x: np.rot90(x, 2).swapaxes(0, 1))
    ways += [(turn, turn), (mirror, mirror)]
    each = [back(raw(net, there(image))) for there, back in ways]
    assert psnr(Upscaler(net, self_ensemble=True)(image), np.mean(each, axis=0).clip(0, 1)) > 100


def raw(net: nn.Module, image: np.ndarray) -> np.ndarray:
    x = torch.from_numpy(np.ascontiguousarray(image[..., ::-1])).permute(2, 0, 1)[None]
    with torch.no_grad():
        return net(x)[0].permute(1, 2, 0).numpy()[..., ::-1]


@pytest.mark.skipif(not torch.ops.mkldnn._is_mkldnn_bf16_supported(), reason='needs a CPU with bfloat16')
def test_a_lower_precision(net: nn.Module):
    torch.manual_seed(0)
    other = SRVGGNetCompact(num_feat=16, num_conv=2, upscale=2)
    other.load_state_dict(net.state_dict())
    image = sample_image(height=40, width=48).astype(np.float32) / 255
    got = psnr(Upscaler(other, Precision('bf16', CPU))(image), expected(net, image))
    assert 45 < got < 90


def test_a_network_that_does_not_say_its_scale():
    upscale = Upscaler(EDSR(3, 3, num_feat=4, num_block=1, upscale=2))
    assert upscale.scale == 2 and upscale(sample_image(height=10, width=12)).shape == (20, 24, 3)


class Twice(nn.Conv2d):
    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return x, x


def test_networks_that_cannot_upscale_photos():
    with pytest.raises(InputError, match=r'RRDBNet cannot upscale .*channels.*expected an SR network for RGB'):
        Upscaler(RRDBNet(1, 1, num_feat=4, num_block=1, num_grow_ch=2))
    with pytest.raises(InputError, match=r'Conv2d returns shape \[1, 5, 32, 32\] for shape \[1, 3, 32, 32\]'):
        Upscaler(nn.Conv2d(3, 5, 3, padding=1))
    with pytest.raises(InputError, match='Twice returns a tuple for shape'):
        Upscaler(Twice(3, 3, 3))


@pytest.mark.parametrize(
    ('settings', 'message'),
    [
        ({'tile': 31}, 'tile: got 31, expected at least 32 pixels, or 0'),
        ({'tile': -1}, 'tile: got -1'),
        ({'overlap': -1}, 'overlap: got -1'),
        ({'outscale': 0.0}, r'outscale: got 0.0, expected a number above 0 and up to 10000'),
        ({'outscale': float('nan')}, 'outscale: got nan'),
        ({'outscale': 1e300}, 'outscale: got 1e\\+300'),
    ],
)
def test_settings_that_are_refused(net: nn.Module, settings: dict, message: str):
    with pytest.raises(InputError, match=message):
        Upscaler(net, **settings)


@pytest.mark.parametrize(
    ('image', 'message'),
    [
        (np.zeros((3, 4, 2), np.uint8), r'got shape \(3, 4, 2\), expected \(H, W\)'),
        (np.zeros((1, 3, 4, 3), np.uint8), 'got shape'),
        (np.zeros((0, 4, 3), np.uint8), 'got shape'),
        (np.zeros((3, 4, 3), np.int64), 'got int64, expected uint8'),
        (np.zeros((3, 4), bool), 'got bool'),
        ([[1, 2]], r'got list, expected a NumPy array in BGR order as in OpenCV. Convert a Pillow'),
        (np.full((3, 4), 200.0), r'got float64 from 200 to 200, expected \[0, 1\]. Divide'),
        (np.full((3, 4), np.nan, np.float32), 'got float32 from nan'),
        (np.full((3, 4), -0.1), r'from -0.1 to -0.1'),
    ],
)
def test_what_is_no_image(net: nn.Module, image: np.ndarray, message: str):
    with pytest.raises(InputError, match=message):
        Upscaler(net)(image)


class Hungry(nn.Module):
    """Cannot do with more than so many pixels at once, as a GPU short of memory."""

    def __init__(self, net: nn.Module, most: int, error: Exception) -> None:
        super().__init__()
        self.net, self.most, self.error = net, most, error
        self.seen: list[tuple[int, ...]] = []
        self.held: list[weakref.ref] = []
        self.most_held = 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.seen.append(tuple(x.shape[2:]))
        self.most_held = max(self.most_held, sum(one() is not None for one in self.held))
        features = x + 1
        self.held.append(weakref.ref(features))
        if x.shape[2] * x.shape[3] > self.most:
            raise type(self.error)(*self.error.args)  # a new one, as it holds the frames it came through
        return self.net(x)


ON_CPU = "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: you tried"


@pytest.mark.parametrize(
    'error',
    [
        torch.OutOfMemoryError('CUDA out of memory'),
        RuntimeError(ON_CPU),
        RuntimeError('could not create a primitive'),
        MemoryError(),
    ],
)
def test_tiles_are_halved_when_memory_runs_out(net: nn.Module, error: Exception, caplog: pytest.LogCaptureFixture):
    image = sample_image(height=180, width=200).astype(np.float32) / 255
    hungry = Hungry(net, 60 * 60, error)
    upscale = Upscaler(hungry, tile=200, overlap=16)
    assert psnr(upscale(image), expected(net, image)) > 60
    assert 'retrying with tiles of 100 pixels' in caplog.text and 'retrying with tiles of 50 pixels' in caplog.text
    assert hungry.most_held == 0  # what a failed pass had made is gone when the next begins
    hungry.seen.clear()
    upscale(image)  # the next image begins with what sufficed
    assert max(max(size) for size in hungry.seen) <= 50


def test_too_little_memory_for_any_tile(net: nn.Module):
    upscale = Upscaler(Hungry(net, 32 * 32, MemoryError()))
    upscale.network.most = 10
    with pytest.raises(InputError, match='out of memory with the smallest tile of 32 pixels'):
        upscale(sample_image())


def test_other_errors_are_not_taken_for_want_of_memory(net: nn.Module):
    upscale = Upscaler(Hungry(net, 32 * 32, RuntimeError('shapes differ')), tile=64)
    with pytest.raises(RuntimeError, match='shapes differ'):
        upscale(sample_image())


def test_tiles_follow_from_the_free_memory(net: nn.Module, monkeypatch: pytest.MonkeyPatch):
    upscale = Upscaler(Hungry(net, 10**9, MemoryError()))
    image = sample_image(height=400, width=420)
    for free, most in (
        (None, 256),
        (10**12, 256),
        (image.size * 4 + 10**5, 32),
        (image.size * 4 + 2 * upscale.bytes_per_pixel * 100**2, 100),
    ):
        monkeypatch.setattr(module, 'free_memory', lambda device, free=free: free)
        upscale.network.seen.clear()
        upscale(image)
        largest = max(max(size) for size in upscale.network.seen)
        assert most / 2 < largest <= most


def test_a_result_that_does_not_fit(net: nn.Module, monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(InputError, match=r'image of \d+x\d+ pixels needs .* GB are free. Choose a smaller outscale'):
        Upscaler(net, outscale=1e4)(sample_image())
    monkeypatch.setattr(module, 'free_memory', lambda device: None)  # where that cannot be told
    with pytest.raises(InputError, match=r'cannot resize the result to .*Choose a smaller outscale'):
        Upscaler(net, outscale=1e4)(sample_image())


def test_weights_that_are_no_numbers():
    broken = SRVGGNetCompact(num_feat=4, num_conv=1, upscale=2)
    broken.body[0].bias.data.fill_(float('nan'))
    with pytest.raises(InputError, match='the output of the network is non-finite'):
        Upscaler(broken)(sample_image())


def test_arrays_of_other_layouts(net: nn.Module):
    image = sample_image(height=20, width=24)
    upscale = Upscaler(net)
    expected = upscale(image)
    for other in (np.asfortranarray(image), image[..., ::-1].copy()[..., ::-1], np.dstack([image, image])[..., :3]):
        np.testing.assert_array_equal(upscale(other), expected)
    deep = image.astype(np.uint16) * 257
    np.testing.assert_array_equal(upscale(deep.astype('>u2')), upscale(deep))


def test_the_memory_that_is_free():
    free = free_memory(CPU)
    total = int(Path('/proc/meminfo').read_text().split()[1]) * 1024
    assert free is not None and total / 100 < free <= total


LIMITED = """
import resource
import numpy as np, torch
from pathlib import Path
from basicsr.archs.srvgg_arch import SRVGGNetCompact
from usrdu_basicsr.utils.memory import free_memory
from usrdu_basicsr.inference.upscaler import Upscaler

used = next(int(l.split()[1]) for l in Path('/proc/self/status').read_text().splitlines() if l.startswith('VmData'))
net = SRVGGNetCompact(num_feat={features}, num_conv=1, upscale=2)
image = np.tile(np.arange(256, dtype=np.uint8)[None, :, None], ({height}, {width}, 3))
limit = used * 1024 + {limit} * 2**20
resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
assert free_memory(torch.device('cpu')) < {limit} * 2**20
upscale = Upscaler(net, tile={tile})
result = upscale(image)
assert result.shape == (image.shape[0] * 2, image.shape[1] * 2, 3), result.shape
part = image[:, :256]
assert abs(upscale(part)[:, :400].astype(int) - result[: part.shape[0] * 2, :400]).max() <= 1
"""


def upscale_in_limited_memory(folder: Path, **settings: int | None) -> str:
    """Standard error of a process with `limit` MiB of memory beyond what Python and PyTorch use at the start."""
    (folder / 'limited.py').write_text(LIMITED.format(**settings))
    result = run_script(folder / 'limited.py', cwd=folder)
    assert result.returncode == 0, result.stderr
    return result.stderr


def test_large_image_in_little_memory(tmp_path: Path):
    """4 megapixels as a whole take more than 700 MB; the result takes 49 MB."""
    errors = upscale_in_limited_memory(tmp_path, tile=None, features=16, height=2000, width=8, limit=250)
    assert 'retrying' not in errors


def test_out_of_memory_on_a_cpu(tmp_path: Path):
    errors = upscale_in_limited_memory(tmp_path, tile=750, features=64, height=750, width=3, limit=130)
    assert 'retrying with tiles of 375 pixels' in errors
