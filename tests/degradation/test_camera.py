"""Camera measurement against simulated cameras whose blur, noise and JPEG settings are known."""

import base64
import json
import re
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from scipy.ndimage import correlate
from skimage import data

from python_process import ROOT, check_script, run_script
from usrdu_basicsr.archs.camera_noise import sample_lr
from usrdu_basicsr.data.kernel_set import read_kernel_set
from usrdu_basicsr.degradation.blur_kernel import hr_kernel, lr_kernel
from usrdu_basicsr.degradation.camera import measure_camera, write_camera
from usrdu_basicsr.degradation.camera_estimator import poisson_gaussian
from usrdu_basicsr.degradation.camera_page import camera_page
from usrdu_basicsr.degradation.simulated_camera import SimulatedCamera, gaussian_kernel
from usrdu_basicsr.inference.load_network import load_dsn
from usrdu_basicsr.inference.measured_dsn import measured_dsn
from usrdu_basicsr.kernelgan.postprocess import kernel_error
from usrdu_basicsr.ops.kernels import kernel_downsample
from usrdu_basicsr.ops.resize import bicubic_downsample
from usrdu_basicsr.utils.errors import InputError, InputNotFoundError

NAMES = ('astronaut', 'chelsea', 'coffee', 'rocket', 'retina', 'immunohistochemistry', 'stereo_motorcycle')
DELTA = np.pad([[1.0]], 5)


def halves(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Left and right half of a sample of scikit-image, `(H, W, 3)` float32, BGR, [0, 1], with sides divisible by 4."""
    image = getattr(data, name)()
    image = np.asarray(image[0] if isinstance(image, tuple) else image)
    height, width = image.shape[0] // 4 * 4, image.shape[1] // 8 * 4
    left, right = image[:height, :width, ::-1], image[:height, width : 2 * width, ::-1]
    return np.float32(left) / 255, np.float32(right) / 255


@pytest.fixture(scope='module')
def hr(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp('hr')
    for name in NAMES:
        cv2.imwrite(str(folder / f'{name}.png'), (halves(name)[0] * 255).round())
    return folder


def write_lr(folder: Path, camera: SimulatedCamera) -> Path:
    """Images of a camera, which show other parts of the scenes than the HR images."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    for name in NAMES:
        cv2.imwrite(str(folder / f'{name}.png'), camera(halves(name)[1], rng))
    return folder


@pytest.mark.parametrize(
    ('scale', 'wide', 'narrow', 'angle', 'noise'),
    [(2, 1.6, 1.6, 0.0, 0), (2, 2.2, 1.5, 0.6, 3), (4, 3.5, 2.4, 1.2, 5), (4, 2.5, 2.5, 0.0, 4), (1, 1.2, 1.2, 0.0, 9)],
)
def test_kernel_and_noise_of_unrelated_images(
    hr: Path, tmp_path: Path, scale: int, wide: float, narrow: float, angle: float, noise: float
):
    kernel = gaussian_kernel(wide, narrow, angle, scale)
    camera = measure_camera(write_lr(tmp_path / 'lr', SimulatedCamera(scale, kernel, noise)), hr, scale)
    assert camera.kernel.shape == kernel.shape and camera.kernel.sum() == pytest.approx(1)
    error = kernel_error(camera.kernel, kernel)
    assert error < 0.25 and error < kernel_error(hr_kernel(DELTA, scale), kernel) / 4
    for name, expected in (('blur_wide', wide), ('blur_narrow', narrow)):
        assert camera.numbers[name].value == pytest.approx(expected, rel=0.2)
    for channel in ('red', 'green', 'blue'):
        measured = camera.numbers[f'noise_{channel}']
        assert measured.value == pytest.approx((noise**2 + 1 / 12) ** 0.5, rel=0.05)  # with that of rounding
        assert measured.low < measured.value < measured.high
    assert camera.images == {'lr': len(NAMES), 'hr': len(NAMES)} and camera.jpeg == {'no JPEG': len(NAMES)}


@pytest.mark.parametrize('level', [2, 6, 12, 25])
def test_noise_without_hr_images(tmp_path: Path, level: float):
    camera = measure_camera(write_lr(tmp_path / 'lr', SimulatedCamera(2, noise=level)), None, 2)
    assert camera.kernel is None and not any(name.startswith(('blur', 'tone')) for name in camera.numbers)
    for channel in ('red', 'green', 'blue'):
        measured = camera.numbers[f'noise_{channel}']
        assert measured.value == pytest.approx((level**2 + 1 / 12) ** 0.5, rel=0.05)


@pytest.mark.parametrize('scale', [1, 2, 4])
def test_kernel_for_hr_images_equals_bicubic_downsampling_and_the_kernel_for_lr_images(scale: int):
    kernel = np.random.default_rng(0).dirichlet(np.ones(9)).reshape(3, 3)
    small = np.pad(kernel, 4)  # as many taps as `lr_kernel` gives
    x = torch.rand(2, 3, 80, 80, dtype=torch.float64)
    bicubic = bicubic_downsample(x, scale)
    expected = torch.from_numpy(correlate(bicubic.numpy(), kernel[None, None]))
    kernels = torch.from_numpy(hr_kernel(small, scale))
    got = kernel_downsample(x, kernels.expand(2, -1, -1), scale)
    torch.testing.assert_close(got[..., 4:-4, 4:-4], expected[..., 4:-4, 4:-4], rtol=0, atol=1e-9)


def test_equal_spectra_give_bicubic_downsampling():
    power = 100 * (torch.rand(32, 32) + 1)
    symmetric = (power + power.flip(0, 1).roll((1, 1), (0, 1))) / 2
    np.testing.assert_allclose(lr_kernel(3 * symmetric + 2, torch.full((32, 32), 2.0), symmetric), DELTA, atol=1e-5)


def test_unreliable_numbers_have_a_warning(hr: Path, tmp_path: Path):
    lr = write_lr(tmp_path / 'lr', SimulatedCamera(2, noise=30, jpeg=(60,)))
    warnings = ' '.join(measure_camera(lr, hr, 2).warnings)
    assert 'Only 7 LR images' in warnings and 'Only 7 HR images' in warnings and 'JPEG-compressed' in warnings
    camera = measure_camera(hr, lr, 2)  # exchanged
    assert any('may be exchanged' in warning for warning in camera.warnings)
    cv2.imwrite(str(tmp_path / 'white.png'), np.full((64, 64, 3), 255, np.uint8))
    (tmp_path / 'flat').mkdir()
    (tmp_path / 'white.png').rename(tmp_path / 'flat' / 'white.png')
    with pytest.raises(InputError, match='LR images: got no patch that is neither black nor white'):
        measure_camera(tmp_path / 'flat', hr, 2)
    with pytest.raises(InputError, match='HR images: got no texture'):
        measure_camera(lr, tmp_path / 'flat', 1)


def test_unusable_images_are_skipped_or_refused(hr: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture):
    lr = write_lr(tmp_path / 'lr', SimulatedCamera(4, noise=4))
    expected = measure_camera(lr, hr, 4)
    (lr / 'broken.png').write_bytes((lr / 'coffee.png').read_bytes()[:99])
    cv2.imwrite(str(lr / 'z_tiny.png'), np.zeros((31, 90, 3), np.uint8))
    camera = measure_camera(lr, hr, 4)
    assert camera.images == expected.images and camera.numbers.keys() == expected.numbers.keys()
    assert (
        "broken.png': the file is corrupt" in caplog.text and "z_tiny.png': got 31x90 pixels, too small" in caplog.text
    )
    (tmp_path / 'none').mkdir()
    shutil.copy(lr / 'z_tiny.png', tmp_path / 'none')
    with pytest.raises(InputError, match=r"none': got no readable image of at least 32x32 pixels"):
        measure_camera(tmp_path / 'none', None, 4)
    with pytest.raises(InputError, match=r"none': got no readable image of at least 144x144 pixels"):
        measure_camera(lr, tmp_path / 'none', 4)
    with pytest.raises(InputNotFoundError, match='nowhere'):
        measure_camera(tmp_path / 'nowhere', None, 4)


@pytest.mark.parametrize('part', ['border', 'channel', 'drawing'])
def test_parts_without_noise(hr: Path, tmp_path: Path, part: str):
    lr = write_lr(tmp_path / 'lr', SimulatedCamera(4, noise=5))
    for path in lr.iterdir():
        image = cv2.imread(str(path))
        if part == 'border':
            image[: image.shape[0] // 4] = image[:, :9] = 128
        elif part == 'channel':
            image[..., 0] = 0
        else:
            image = cv2.resize(image, None, fx=1 / 40, fy=1 / 40).clip(30, 220).repeat(40, 0).repeat(40, 1)
        cv2.imwrite(str(path), image)
    camera = measure_camera(lr, hr, 4)
    assert any('flattest patches are constant' in warning for warning in camera.warnings) is (part == 'drawing')
    dsn, _ = measured_dsn(camera, hr)
    output = dsn(torch.full((1, 3, 256, 256), 0.5))
    levels = (sample_lr(output.mean, output.log_scale, dsn.camera_noise) - output.mean).std((0, 2, 3)) * 255
    expected = {'border': (5, 5, 5), 'channel': (5, 5, 0), 'drawing': (0, 0, 0)}[part]
    assert levels.tolist() == pytest.approx(expected, rel=0.2, abs=0.5)


def test_command_writes_a_kernel_for_stage_1(hr: Path, tmp_path: Path):
    kernel = gaussian_kernel(2.0, 2.0, 0, 2)
    write_lr(tmp_path / 'lr', SimulatedCamera(2, kernel, 3))
    arguments = ('--hr', hr, '--lr', 'lr', '--scale', '2', '-o', 'camera', '--workers', '2')
    output = check_script(ROOT / 'scripts' / 'measure_camera.py', *arguments, cwd=tmp_path)
    assert re.search(r'^noise_red: 3\.\d\d \(.* to .*\) gray levels$', output, re.M), output
    assert re.search(r'^blur_wide: [12]\.\d\d \(.* to .*\) HR pixels$', output, re.M) and 'files: 7 no JPEG' in output
    (read,) = read_kernel_set(tmp_path / 'camera' / 'kernels', 64)
    assert kernel_error(read, kernel) < 0.25
    content = json.loads((tmp_path / 'camera' / 'camera.json').read_text())
    assert content['scale'] == 2 and content['images'] == {'lr': 7, 'hr': 7} and len(content['kernel']) == 17
    assert content['numbers']['noise_red'].keys() == {'value', 'low', 'high'}
    assert cv2.imread(str(tmp_path / 'camera' / 'kernel.png')) is not None
    page = (tmp_path / 'camera' / 'camera.html').read_text()
    assert page.count('<polyline') == 5 and page.count('src="data:image/png;base64,') == 2 and 'http' not in page
    pictures = [base64.b64decode(part.split('"')[0]) for part in page.split('src="data:image/png;base64,')[1:]]
    heights = [cv2.imdecode(np.frombuffer(picture, np.uint8), 1).shape[0] for picture in pictures]
    assert heights == [17 * (240 // 17), 2 * 32 * 3]
    assert str(round(content['numbers']['noise_red']['value'], 2)) in page
    dsn = load_dsn(tmp_path / 'camera' / 'net_g_camera.pth', torch.device('cpu'))
    np.testing.assert_allclose(dsn.kernel, read, atol=1e-6)
    assert dsn.scale == 2 and dsn.camera_noise.offset.exp().mean() * 2**0.5 == pytest.approx(3, rel=0.2)

    result = run_script(ROOT / 'scripts' / 'measure_camera.py', '--lr', 'lr', '-o', './lr/', cwd=tmp_path)
    assert result.returncode == 1 and "output 'lr' is the input folder. Choose another" in result.stderr

    check_script(ROOT / 'scripts' / 'measure_camera.py', '--lr', 'lr', '-o', 'camera', cwd=tmp_path)
    assert sorted(path.name for path in (tmp_path / 'camera').rglob('*.*')) == ['camera.html', 'camera.json']


def test_measurement_without_hr_images_removes_an_earlier_kernel(hr: Path, tmp_path: Path):
    write_camera(tmp_path / 'camera', measure_camera(hr, hr, 1))
    assert len(list((tmp_path / 'camera').rglob('*.*'))) == 4
    write_camera(tmp_path / 'camera', measure_camera(hr, None, 1))
    assert [path.name for path in (tmp_path / 'camera').rglob('*.*')] == ['camera.json']


def test_mostly_flat_or_overexposed_images_have_no_intervals(hr: Path, tmp_path: Path):
    lr = tmp_path / 'lr'
    lr.mkdir()
    for number in range(30):
        cv2.imwrite(str(lr / f'flat_{number}.png'), np.full((64, 64, 3), 255, np.uint8))
    shutil.copy(hr / 'coffee.png', lr / 'scene.png')
    camera = measure_camera(lr, hr, 1)
    assert camera.kernel is not None and all(number.low is None for number in camera.numbers.values())
    assert any('there are no intervals' in warning for warning in camera.warnings)
    write_camera(tmp_path / 'camera', camera)
    numbers = json.loads((tmp_path / 'camera' / 'camera.json').read_text())['numbers']
    assert numbers['noise_red'] == {'value': camera.numbers['noise_red'].value, 'low': None, 'high': None}


def test_noise_stronger_than_texture_is_refused(hr: Path, tmp_path: Path):
    lr = tmp_path / 'lr'
    lr.mkdir()
    rng = np.random.default_rng(0)
    for name in NAMES:
        gray = 0.5 + 0.01 * (halves(name)[1] - 0.5) + rng.normal(0, 0.1, halves(name)[1].shape)
        cv2.imwrite(str(lr / f'{name}.png'), (gray * 255).round())
    with pytest.raises(InputError, match='LR images: got noise that is stronger than the texture'):
        measure_camera(lr, hr, 1)


def test_poisson_gaussian_fit():
    brightness = (torch.arange(8) + 0.5) * 32 - 0.5
    curve = (4 + 0.25 * brightness)[:, None].expand(-1, 3).clone()
    curve[[0, 5]] = torch.nan
    assert poisson_gaussian(curve) == pytest.approx((4, 0.25), rel=1e-5)
    assert poisson_gaussian(torch.full((8, 3), 9.0)) == pytest.approx((9, 0), abs=1e-6)


@pytest.mark.parametrize('count', [1, 4])
def test_few_images_have_no_intervals(hr: Path, tmp_path: Path, count: int):
    """The bootstrap of a single image has intervals without width. Noise by brightness needs more patches."""
    lr = write_lr(tmp_path / 'lr', SimulatedCamera(2, noise=8))
    for path in sorted(lr.iterdir())[count:]:
        path.unlink()
    camera = measure_camera(lr, hr, 2)
    assert all(number.low is None for number in camera.numbers.values())
    assert 'Fewer than 5 images: there are no intervals.' in camera.warnings
    assert ('noise_gaussian' in camera.numbers) == (not camera.noise.curve.isnan().all())
    assert ('not measured' in camera_page(camera)) == bool(camera.noise.curve.isnan().all())
