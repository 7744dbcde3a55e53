"""Upscaling NumPy images: data types, channels, tiles, memory, settings."""

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
from usrdu_basicsr.archs.spandrel_arch import SRProperties
from usrdu_basicsr.inference import upscaler as module
from usrdu_basicsr.inference.upscaler import Upscaler
from usrdu_basicsr.utils.errors import InputError
from usrdu_basicsr.utils.memory import free_memory
from usrdu_basicsr.utils.precision import Precision

CPU = torch.device('cpu')


@pytest.fixture(scope='module')
def net() -> nn.Module:
    """Network whose output depends on every channel."""
    torch.manual_seed(0)
    return SRVGGNetCompact(num_feat=16, num_conv=2, upscale=2).eval()


def expected(net: nn.Module, image: np.ndarray) -> np.ndarray:
    """Output of the network for the whole image, `(H, W, 3)` BGR in [0, 1]."""
    x = torch.from_numpy(image[..., ::-1].astype(np.float32)).permute(2, 0, 1)[None]
    with torch.no_grad():
        return net(x)[0].clamp(0, 1).permute(1, 2, 0).numpy()[..., ::-1]


def psnr(first: np.ndarray, second: np.ndarray) -> float:
    return float(-10 * np.log10(((first.astype(np.float64) - second) ** 2).mean() + 1e-30))


def test_colour_images_of_each_dtype(net: nn.Module):
    image = sample_image(height=20, width=24)
    result = expected(net, image / 255)
    upscale = Upscaler(net)
    np.testing.assert_array_equal(upscale(image), (result * 255).round().astype(np.uint8))
    deep = upscale(image.astype(np.uint16) * 257)
    assert deep.dtype == np.uint16 and np.abs(deep / 65535 - result).max() < 1e-5
    for dtype in (np.float32, np.float64):
        floats = upscale((image / 255).astype(dtype))
        assert floats.dtype == np.float32 and np.abs(floats - result).max() < 1e-6


def test_gray_is_the_luma_of_colour(net: nn.Module):
    image = cv2.cvtColor(sample_image(height=20, width=24), cv2.COLOR_BGR2GRAY)
    colour = expected(net, np.repeat(image[..., None], 3, axis=2) / 255)
    result = Upscaler(net)(image)
    assert result.shape == (40, 48)
    assert np.abs(result / 255 - cv2.cvtColor(np.ascontiguousarray(colour), cv2.COLOR_BGR2GRAY)).max() < 0.6 / 255
    np.testing.assert_array_equal(Upscaler(net)(image[..., None])[..., 0], result)


@pytest.mark.parametrize('dtype', [np.uint8, np.uint16])
def test_alpha_is_resized(net: nn.Module, dtype: type):
    """Alpha is resized and does not change the colours."""
    maximum = np.iinfo(dtype).max
    colour = (sample_image(height=20, width=24) / 255 * maximum).astype(dtype)
    alpha = np.zeros((20, 24), dtype)
    alpha[5:15, 6:18] = maximum
    result = Upscaler(net)(np.dstack([colour, alpha]))
    assert result.shape == (40, 48, 4) and result.dtype == dtype
    np.testing.assert_array_equal(result[..., :3], Upscaler(net)(colour))
    assert (result[14:26, 16:32, 3] == maximum).all() and (result[:6, :, 3] == 0).all()
    opaque = Upscaler(net)(np.dstack([colour, np.full_like(alpha, maximum)]))
    assert (opaque[..., 3] == maximum).all()
    floats = Upscaler(net)(np.dstack([colour, alpha]).astype(np.float64) / maximum)
    assert floats.dtype == np.float32 and floats.min() >= 0 and floats.max() <= 1


@pytest.mark.parametrize('tile', [32, 40, 64, 1000, 0, None])
def test_tiles_match_the_whole_image(net: nn.Module, tile: int | None):
    """An overlap of 16 pixels is exact for a receptive radius of 4; small tiles overlap by a quarter of their side."""
    image = sample_image(height=75, width=90).astype(np.float32) / 255
    exact = tile is None or tile == 0 or tile >= 64
    assert psnr(Upscaler(net, tile=tile, overlap=16)(image), expected(net, image)) > (100 if exact else 60)


@pytest.mark.parametrize('multiple', [16, 40])
def test_tiles_of_networks_with_large_multiples_overlap(multiple: int):
    torch.manual_seed(0)
    net = SRVGGNetCompact(num_feat=16, num_conv=2, upscale=2).eval()
    net.sr_properties = SRProperties(2, multiple, 'X')
    image = sample_image(height=160, width=240).astype(np.float32) / 255
    assert psnr(Upscaler(net, tile=64)(image), expected(net, image)) > 100


def test_rrdbnet_tiles_match_at_the_default_overlap():
    """The weights are those of the published test vectors, which have the magnitude of trained weights."""
    rrdb = load_generator(RRDBNet(3, 3, num_feat=16, num_block=2, num_grow_ch=8), rrdb_name).eval()
    image = sample_image(height=150, width=180).astype(np.float32) / 255
    # scale the output, which is noise, to the contrast of an image
    with torch.no_grad():
        y = rrdb(torch.rand(1, 3, 32, 32))
        rrdb.conv_last.weight.mul_(0.2 / y.std())
        rrdb.conv_last.bias.fill_(0.5)
    tiled, whole = Upscaler(rrdb, tile=128)(image), Upscaler(rrdb, tile=0)(image)
    assert 0.1 < whole.std() < 0.4
    assert psnr(tiled, whole) > 60


@pytest.mark.parametrize('scale', [1, 2, 4])
@pytest.mark.parametrize('tile', [0, 32])
def test_image_sizes_that_are_no_multiple(scale: int, tile: int):
    """For scales 2 and 1 RRDBNet unshuffles pixels. Images and tiles need not be a multiple of them."""
    torch.manual_seed(0)
    rrdb = RRDBNet(3, 3, scale=scale, num_feat=4, num_block=1, num_grow_ch=2).eval()
    for height, width in ((13, 10), (47, 81), (1, 1), (3, 70)):
        image = sample_image(height=height, width=width).astype(np.float32) / 255
        result = Upscaler(rrdb, tile=tile, overlap=16)(image)
        assert result.shape == (height * scale, width * scale, 3)
        unshuffle = 4 // scale
        padded = np.pad(image, ((0, -height % unshuffle), (0, -width % unshuffle), (0, 0)), mode='edge')
        assert psnr(result, expected(rrdb, padded)[: height * scale, : width * scale]) > 60


@pytest.mark.parametrize(('outscale', 'size'), [(1, (20, 24)), (1.5, (30, 36)), (2, (40, 48)), (3.3, (66, 79))])
def test_outscale_resizes_the_result(net: nn.Module, outscale: float, size: tuple[int, int]):
    image = sample_image(height=20, width=24)
    result = Upscaler(net, outscale=outscale)(np.dstack([image, image[..., 0]]))
    assert result.shape == (*size, 4)
    upscaled = Upscaler(net)(image)
    interpolation = cv2.INTER_AREA if outscale < 2 else cv2.INTER_CUBIC
    np.testing.assert_array_equal(result[..., :3], cv2.resize(upscaled, size[::-1], interpolation=interpolation))


def test_self_ensemble_is_the_mean_of_eight_results(net: nn.Module):
    image = sample_image(height=20, width=24).astype(np.float32) / 255
    transforms = [
        (lambda x: x, lambda x: x),
        (np.flipud, np.flipud),
        (np.fliplr, np.fliplr),
        (np.rot90, lambda x: np.rot90(x, -1)),
    ]
    transforms += [(lambda x: np.rot90(x, 2), lambda x: np.rot90(x, 2)), (lambda x: np.rot90(x, -1), np.rot90)]
    transpose, anti_transpose = (lambda x: x.swapaxes(0, 1)), (lambda x: np.rot90(x, 2).swapaxes(0, 1))
    transforms += [(transpose, transpose), (anti_transpose, anti_transpose)]
    results = [inverse(run_unclipped(net, transform(image))) for transform, inverse in transforms]
    assert psnr(Upscaler(net, self_ensemble=True)(image), np.mean(results, axis=0).clip(0, 1)) > 100


def run_unclipped(net: nn.Module, image: np.ndarray) -> np.ndarray:
    x = torch.from_numpy(np.ascontiguousarray(image[..., ::-1])).permute(2, 0, 1)[None]
    with torch.no_grad():
        return net(x)[0].permute(1, 2, 0).numpy()[..., ::-1]


@pytest.mark.skipif(not torch.ops.mkldnn._is_mkldnn_bf16_supported(), reason='needs a CPU with bfloat16')
def test_bf16_is_close_to_fp32(net: nn.Module):
    torch.manual_seed(0)
    other = SRVGGNetCompact(num_feat=16, num_conv=2, upscale=2)
    other.load_state_dict(net.state_dict())
    image = sample_image(height=40, width=48).astype(np.float32) / 255
    got = psnr(Upscaler(other, Precision('bf16', CPU))(image), expected(net, image))
    assert 45 < got < 90


def test_scale_is_measured_without_an_attribute():
    upscale = Upscaler(EDSR(3, 3, num_feat=4, num_block=1, upscale=2))
    assert upscale.scale == 2 and upscale(sample_image(height=10, width=12)).shape == (20, 24, 3)


class TwoOutputs(nn.Conv2d):
    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return x, x


def test_unsuitable_networks_are_rejected():
    with pytest.raises(InputError, match=r'RRDBNet cannot upscale .*channels.*expected an SR network for RGB'):
        Upscaler(RRDBNet(1, 1, num_feat=4, num_block=1, num_grow_ch=2))
    with pytest.raises(InputError, match=r'Conv2d returns shape \[1, 5, 32, 32\] for shape \[1, 3, 32, 32\]'):
        Upscaler(nn.Conv2d(3, 5, 3, padding=1))
    with pytest.raises(InputError, match='TwoOutputs returns a tuple for shape'):
        Upscaler(TwoOutputs(3, 3, 3))


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
def test_invalid_settings_are_rejected(net: nn.Module, settings: dict, message: str):
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
def test_invalid_images_are_rejected(net: nn.Module, image: np.ndarray, message: str):
    with pytest.raises(InputError, match=message):
        Upscaler(net)(image)


class LimitedNetwork(nn.Module):
    """Network that raises an error above a number of pixels, as on a GPU with little memory."""

    def __init__(self, net: nn.Module, max_pixels: int, error: Exception) -> None:
        super().__init__()
        self.net, self.max_pixels, self.error = net, max_pixels, error
        self.seen: list[tuple[int, ...]] = []
        self.features: list[weakref.ref] = []
        self.max_alive = 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.seen.append(tuple(x.shape[2:]))
        self.max_alive = max(self.max_alive, sum(reference() is not None for reference in self.features))
        features = x + 1
        self.features.append(weakref.ref(features))
        if x.shape[2] * x.shape[3] > self.max_pixels:
            raise type(self.error)(*self.error.args)  # a new error, because its traceback keeps tensors alive
        return self.net(x)


CPU_ALLOC_ERROR = "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory"


@pytest.mark.parametrize(
    'error',
    [
        torch.OutOfMemoryError('CUDA out of memory'),
        RuntimeError(CPU_ALLOC_ERROR),
        RuntimeError('could not create a primitive'),
        MemoryError(),
    ],
)
def test_tiles_are_halved_when_memory_runs_out(net: nn.Module, error: Exception, caplog: pytest.LogCaptureFixture):
    image = sample_image(height=180, width=200).astype(np.float32) / 255
    limited = LimitedNetwork(net, 60 * 60, error)
    upscale = Upscaler(limited, tile=200, overlap=16)
    assert psnr(upscale(image), expected(net, image)) > 60
    assert 'retrying with tiles of 100 pixels' in caplog.text and 'retrying with tiles of 50 pixels' in caplog.text
    assert limited.max_alive == 0  # tensors of a failed pass are freed before the next pass
    limited.seen.clear()
    upscale(image)  # the next image starts with the reduced tile size
    assert max(max(size) for size in limited.seen) <= 50


def test_out_of_memory_at_the_smallest_tile_is_reported(net: nn.Module):
    upscale = Upscaler(LimitedNetwork(net, 32 * 32, MemoryError()))
    upscale.network.max_pixels = 10
    with pytest.raises(InputError, match='out of memory with the smallest tile of 32 pixels'):
        upscale(sample_image())


def test_other_errors_are_raised(net: nn.Module):
    upscale = Upscaler(LimitedNetwork(net, 32 * 32, RuntimeError('shapes differ')), tile=64)
    with pytest.raises(RuntimeError, match='shapes differ'):
        upscale(sample_image())


def test_tile_size_follows_from_the_free_memory(net: nn.Module, monkeypatch: pytest.MonkeyPatch):
    upscale = Upscaler(LimitedNetwork(net, 10**9, MemoryError()))
    image = sample_image(height=400, width=420)
    for free, max_tile in (
        (None, 256),
        (10**12, 256),
        (image.size * 4 + 10**5, 32),
        (image.size * 4 + 2 * upscale.bytes_per_pixel * 100**2, 100),
    ):
        monkeypatch.setattr(module, 'free_memory', lambda device, free=free: free)
        upscale.network.seen.clear()
        upscale(image)
        largest = max(max(size) for size in upscale.network.seen)
        assert max_tile / 2 < largest <= max_tile


def test_result_larger_than_the_memory_is_rejected(net: nn.Module, monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(InputError, match=r'image of \d+x\d+ pixels needs .* GB are free. Choose a smaller outscale'):
        Upscaler(net, outscale=1e4)(sample_image())
    monkeypatch.setattr(module, 'free_memory', lambda device: None)  # unknown
    with pytest.raises(InputError, match=r'cannot resize the result to .*Choose a smaller outscale'):
        Upscaler(net, outscale=1e4)(sample_image())


def test_non_finite_output_is_reported():
    broken = SRVGGNetCompact(num_feat=4, num_conv=1, upscale=2)
    broken.body[0].bias.data.fill_(float('nan'))
    with pytest.raises(InputError, match='the output of the network is non-finite'):
        Upscaler(broken)(sample_image())


def test_memory_layout_has_no_influence(net: nn.Module):
    image = sample_image(height=20, width=24)
    upscale = Upscaler(net)
    expected = upscale(image)
    for other in (np.asfortranarray(image), image[..., ::-1].copy()[..., ::-1], np.dstack([image, image])[..., :3]):
        np.testing.assert_array_equal(upscale(other), expected)
    deep = image.astype(np.uint16) * 257
    np.testing.assert_array_equal(upscale(deep.astype('>u2')), upscale(deep))


def test_free_memory_is_below_the_total():
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


@pytest.mark.slow
def test_large_image_fits_into_little_memory(tmp_path: Path):
    """4 megapixels as a whole take more than 700 MB; the result takes 49 MB."""
    errors = upscale_in_limited_memory(tmp_path, tile=None, features=16, height=2000, width=8, limit=250)
    assert 'retrying' not in errors


@pytest.mark.slow
def test_tiles_are_halved_on_a_cpu_out_of_memory(tmp_path: Path):
    errors = upscale_in_limited_memory(tmp_path, tile=750, features=64, height=750, width=3, limit=130)
    assert 'retrying with tiles of 375 pixels' in errors
