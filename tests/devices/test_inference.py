"""Upscaling, tiles, out-of-memory errors and generated sets on each device, against the network on the CPU."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from basicsr.archs.srvgg_arch import SRVGGNetCompact

from sample_images import sample_image, write_sample_images
from usrdu_basicsr.archs.dsn_arch import UncertaintyDSN
from usrdu_basicsr.inference import upscaler as upscaler_module
from usrdu_basicsr.inference.generate_lr import generate_set
from usrdu_basicsr.inference.lr_sampler import load_sampler
from usrdu_basicsr.inference.upscaler import Upscaler
from usrdu_basicsr.utils.errors import InputError
from usrdu_basicsr.utils.precision import Precision

CUDA = pytest.mark.cuda
MIB = 1 << 20
# PSNR to float32 on the CPU in dB. Each bit of the number format adds 6 dB.
PSNR = {'fp32': (100, 200), 'tf32': (60, 200), 'bf16': (45, 75), 'fp16': (60, 95)}
CASES = [('cpu', 'fp32'), ('cpu', 'bf16'), *(pytest.param('cuda', name, marks=CUDA) for name in PSNR)]


def network(num_feat: int = 32) -> SRVGGNetCompact:
    torch.manual_seed(0)
    net = SRVGGNetCompact(num_feat=num_feat, num_conv=2, upscale=2).eval()
    net.body[-1].weight.data *= 10  # as large as the enlarged image, to which the network adds it
    return net


def expected(image: np.ndarray, num_feat: int = 32) -> np.ndarray:
    """Result of the network for a whole BGR image in [0, 1], in float32 on the CPU."""
    x = torch.from_numpy(image[..., ::-1].copy()).permute(2, 0, 1)[None]
    with torch.no_grad():
        return network(num_feat)(x)[0].clamp(0, 1).permute(1, 2, 0).numpy()[..., ::-1]


def psnr(one: np.ndarray, other: np.ndarray) -> float:
    return -10 * np.log10(max(((one.astype(np.float64) - other) ** 2).mean(), 1e-20))


def precision_on(device: str, name: str) -> Precision:
    try:
        return Precision(name, torch.device(device))
    except InputError as error:
        pytest.skip(str(error))


@pytest.mark.parametrize('tile', [0, 64])
@pytest.mark.parametrize(('device', 'name'), CASES)
@pytest.mark.usefixtures('bf16_everywhere')
def test_upscaled_image(device: str, name: str, tile: int):
    image = sample_image(height=90, width=110).astype(np.float32) / 255
    upscale = Upscaler(network().to(device), precision_on(device, name), tile)
    low, high = PSNR[name]
    assert low < psnr(upscale(image), expected(image)) <= high
    if name == 'fp32':
        eight_bit = upscale((image * 255).round().astype(np.uint8))
        assert np.abs(eight_bit - expected(image) * 255).max() < 0.51
        deep = upscale((image * 65535).round().astype(np.uint16))
        assert np.abs(deep / 65535 - expected(image)).max() < 2e-5


@CUDA
def test_upscalers_of_several_precisions_in_one_process():
    device, before = torch.device('cuda'), torch.backends.cudnn.allow_tf32
    image = sample_image(height=90, width=110).astype(np.float32) / 255
    exact, rounded = (Upscaler(network().to(device), precision_on('cuda', name)) for name in ('fp32', 'tf32'))
    assert psnr(rounded(image), expected(image)) < 100 < psnr(exact(image), expected(image))
    assert torch.backends.cudnn.allow_tf32 is before


@pytest.mark.parametrize('side', [100, 200])
def test_automatic_tiles_follow_from_the_free_memory(device: torch.device, side: int, monkeypatch: pytest.MonkeyPatch):
    upscale, sides = Upscaler(network(8).to(device)), []
    upscale.network.register_forward_pre_hook(lambda _, inputs: sides.append(max(inputs[0].shape[2:])))
    on_device, on_cpu = 2 * upscale.bytes_per_pixel * side**2, 1 << 40
    image = sample_image(height=300, width=320).astype(np.float32) / 255
    if device.type == 'cpu':
        on_device = on_cpu = on_device + image.nbytes * 4  # the result of twice the size is allocated there, too
    monkeypatch.setattr(upscaler_module, 'free_memory', lambda on: on_cpu if on.type == 'cpu' else on_device)
    assert psnr(upscale(image), expected(image, 8)) > 100
    assert side / 2 < max(sides) <= side


def test_automatic_tiles_are_limited(device: torch.device, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(upscaler_module, 'free_memory', lambda _: 1 << 50)
    upscale, sides = Upscaler(network(4).to(device)), []
    upscale.network.register_forward_pre_hook(lambda _, inputs: sides.append(max(inputs[0].shape[2:])))
    upscale(np.zeros((1500, 40, 3), np.uint8))
    limit = {'cpu': upscaler_module.MAX_CPU_TILE, 'cuda': upscaler_module.MAX_GPU_TILE}[device.type]
    assert limit / 2 < max(sides) <= limit


@CUDA
def test_tiles_are_halved_when_a_gpu_runs_out_of_memory(caplog: pytest.LogCaptureFixture):
    """The whole image takes 256 MiB for each of several layers, a quarter of it 64 MiB."""
    image = cv2.resize(sample_image(height=300, width=300), (1024, 1024)).astype(np.float32) / 255
    device = torch.device('cuda', 0)
    upscale = Upscaler(network(64).to(device), tile=0)
    torch.cuda.empty_cache()
    limit = torch.cuda.memory_reserved(device) + 450 * MIB
    torch.cuda.set_per_process_memory_fraction(limit / torch.cuda.get_device_properties(device).total_memory, device)
    try:
        result = upscale(image)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, device)
    assert 'Out of memory: retrying with tiles of 512 pixels' in caplog.text
    assert psnr(result, expected(image, 64)) > 100  # tiles overlap by more than the receptive radius
    caplog.clear()
    upscale(image)  # the tile size stays reduced, also with more memory
    assert 'Out of memory' not in caplog.text and upscale._max_tile <= 512


@pytest.mark.parametrize('text', ['GET was unable to find an engine', 'cuDNN error: CUDNN_STATUS_ALLOC_FAILED'])
def test_tiles_are_halved_when_cudnn_runs_out_of_memory(device: torch.device, text: str):
    """cuDNN reports a lack of memory for its workspace as other errors."""

    def fail(_: object, inputs: tuple[torch.Tensor]) -> None:
        if inputs[0].shape[2] * inputs[0].shape[3] > 64 * 64:
            raise RuntimeError(text)

    image = sample_image(height=90, width=110).astype(np.float32) / 255
    upscale = Upscaler(network().to(device), tile=0)
    upscale.network.register_forward_pre_hook(fail)
    assert psnr(upscale(image), expected(image)) > 60  # a quarter of such a small tile overlaps, not all of the radius
    assert upscale._max_tile == 55


def dsn_file(folder: Path) -> Path:
    torch.manual_seed(0)
    dsn = UncertaintyDSN(num_feat=16, num_block=2)
    for parameter in dsn.parameters():
        parameter.data += 0.05 * torch.randn_like(parameter)  # every output depends on the image
    dsn.conv_mean.bias.data += 0.5
    torch.save({'params': dsn.state_dict()}, folder / 'dsn.pth')
    return folder / 'dsn.pth'


# Errors of the mean in gray levels, of which rounding to 8 bits is 0.5, and of the log-scale, of which float16 is 1e-4
SET_ERRORS = {'fp32': (0.51, 2e-4), 'tf32': (0.7, 1e-3), 'bf16': (1, 4e-3), 'fp16': (0.7, 1e-3)}


@pytest.mark.parametrize(('device', 'name'), CASES)
@pytest.mark.usefixtures('bf16_everywhere')
def test_generated_set(device: str, name: str, tmp_path: Path):
    precision_on(device, name)
    write_sample_images(tmp_path / 'hr', 2)
    checkpoint = dsn_file(tmp_path)
    report = generate_set(tmp_path / 'hr', tmp_path / 'set', checkpoint, torch.device(device), 48, name)
    assert report.written == ['astronaut.png', 'chelsea.png']
    reference = load_sampler(checkpoint, 'cpu')
    for path in sorted((tmp_path / 'hr').iterdir()):
        mean, log_scale = reference.predict(cv2.imread(str(path)).astype(np.float32) / 255)
        lr = cv2.imread(str(tmp_path / 'set' / 'lr' / path.name))[..., ::-1].astype(np.float32)
        written = np.load(tmp_path / 'set' / 'log_scale' / f'{path.stem}.npy').astype(np.float32)
        mean_error, log_scale_error = SET_ERRORS[name]
        assert np.abs(lr - mean * 255).max() < mean_error < mean.std() * 255 / 5
        assert np.abs(written - log_scale).max() < log_scale_error < log_scale.std() / 5


def test_samples_of_a_seed_are_the_same_on_every_device(device: torch.device, tmp_path: Path):
    checkpoint, image = dsn_file(tmp_path), sample_image()
    reference = load_sampler(checkpoint, 'cpu')(image, count=2, seed=7).astype(int)
    samples = load_sampler(checkpoint, device.type)(image, count=2, seed=7).astype(int)
    assert np.abs(samples - reference).max() <= 1 and (samples != reference).mean() < 0.01
    assert np.abs(samples[0] - samples[1]).mean() > 0.5
