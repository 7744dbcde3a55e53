"""The study: a small grid as a user runs it, resumed after a failure, and its tables."""

import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import torchvision
import yaml
from skimage import data

from python_process import ROOT, check_python, run_python
from study_ablation import write_ablation
from study_cell import Cell
from study_data import phone_pairs, write_simulated
from study_impressionism import write_impressionism
from study_plots import write_plots
from study_real_esrgan import write_real_esrgan
from study_table import _gains, _summary, gap_closed
from usrdu_basicsr.archs.kernel_dsn_arch import KernelDSN
from usrdu_basicsr.data.kernel_set import write_kernel
from usrdu_basicsr.degradation.simulated_camera import SimulatedCamera, gaussian_kernel
from usrdu_basicsr.inference.calibrate import save_dsn
from usrdu_basicsr.inference.load_network import load_dsn
from usrdu_basicsr.ops.bootstrap import paired_interval
from usrdu_basicsr.ops.resize import bicubic_downsample
from usrdu_basicsr.utils.errors import InputError
from usrdu_basicsr.utils.images import list_images, read_image, to_8bit, write_png

SCRIPT = ROOT / 'scripts' / 'study' / 'run_study.py'
NAMES = ('astronaut', 'chelsea', 'coffee', 'rocket')


def image(name: str) -> np.ndarray:
    return np.asarray(getattr(data, name)())[:256, :288, ::-1]


@pytest.fixture
def arguments(tmp_path: Path) -> list[str | Path]:
    """Arguments of a study of small images."""
    for folder in ('bsds/train', 'bsds/test', 'phone/HR', 'phone/LR'):
        (tmp_path / folder).mkdir(parents=True)
    for name in NAMES:
        for folder in ('train', 'test'):
            cv2.imwrite(str(tmp_path / 'bsds' / folder / f'{name}.png'), image(name))
    for number in range(72):
        scene = image(NAMES[number % 4])[:128, :128]
        cv2.imwrite(str(tmp_path / 'phone' / 'HR' / f'{number:03d}.png'), scene)
        cv2.imwrite(str(tmp_path / 'phone' / 'LR' / f'{number:03d}.png'), cv2.resize(scene, None, fx=0.5, fy=0.5))
    alexnet = torchvision.models.alexnet()
    weights = {f'features.{name}': value for name, value in alexnet.features.state_dict().items()}
    torch.save(weights, tmp_path / 'alexnet.pth')
    grid = {
        'images': 2,
        'side': 128,
        'validation': 1,
        'cameras': {'noise_jpeg': {'scale': 4}, 'anisotropic': {'scale': 4}, 'phone': {'scale': 2}},
        'iterations': {'dsn': 2, 'srn': 2},
        'gt_size': {2: 32, 4: 32},
        'methods': {
            'bicubic': {'lr': 'bicubic'},
            'real_esrgan': {'lr': 'real_esrgan'},
            'dsn': {'lr': 'dsn', 'options': {'train:gan_input': 'mean'}},
            'image_gan': {
                'lr': 'bicubic',
                'init': 'bicubic',
                'image_gan': True,
                'srn': {
                    'network_d': {'type': 'UNetDiscriminatorSN_basicsr', 'num_in_ch': 3, 'num_feat': 4},
                    'train:optim_d': {'type': 'Adam', 'lr': 1e-4},
                    'train:gan_opt': {'type': 'GANLoss', 'gan_type': 'vanilla', 'loss_weight': 0.1},
                },
            },
        },
    }
    (tmp_path / 'grid.yml').write_text(yaml.safe_dump(grid, sort_keys=False))
    folders = [part for name in ('bsds', 'phone') for part in (f'--{name}', tmp_path / name)]
    files = ('--grid', tmp_path / 'grid.yml', '--lpips', tmp_path / 'alexnet.pth', '-o', tmp_path / 'study')
    return [SCRIPT, *folders, *files, '--seeds', '1']


@pytest.mark.slow
def test_simulated_cameras_share_networks_and_a_failed_study_is_resumed(tmp_path: Path, arguments: list):
    study, weights = tmp_path / 'study', tmp_path / 'alexnet.pth'
    arguments += ['--cameras', 'noise_jpeg', 'anisotropic', '--methods', 'bicubic']
    weights.rename(tmp_path / 'moved.pth')
    failed = run_python(*arguments, cwd=tmp_path)
    assert failed.returncode == 1 and failed.stdout.startswith('2 of 2 cells are missing')
    assert 'anisotropic-bicubic-0: failed with status 1' in failed.stdout
    (tmp_path / 'moved.pth').rename(weights)
    table = check_python(*arguments, cwd=tmp_path)
    assert table.startswith('2 of 2 cells are missing')
    logs = {path.parent.name: path.read_text() for path in study.rglob('log.txt')}
    trainings = {name: log.count('usrdu_basicsr train') for name, log in logs.items()}
    assert trainings == {'noise_jpeg-bicubic-0': 1, 'anisotropic-bicubic-0': 0}
    assert table.count('| camera | bicubic upscaling | `bicubic` |') == 3 and 'PSNR in dB, seeds: 1' in table
    per_image = (study / 'images.csv').read_text().splitlines()
    assert len(per_image) == 3 and per_image[0].startswith('camera,method,seed,image,psnr,ssim,lpips')


@pytest.mark.slow
def test_stopped_study_starts_no_other_cell(tmp_path: Path, arguments: list):
    command = [sys.executable, *map(str, arguments), '--cameras', 'phone', '--jobs', '1']
    log = tmp_path / 'study' / 'cells' / 'phone-bicubic-0' / 'log.txt'
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True) as process:
        while not log.exists():
            assert process.poll() is None
            time.sleep(0.1)
        process.terminate()
        output, _ = process.communicate(timeout=60)
    assert process.returncode == 143
    assert 'phone-bicubic-0: failed with status' in output
    assert [path.name for path in log.parents[1].iterdir()] == ['phone-bicubic-0']


@pytest.mark.slow
def test_stage_1_and_a_gan_that_starts_from_the_network_of_another_method(tmp_path: Path, arguments: list):
    table = check_python(*arguments, '--cameras', 'phone', '--methods', 'dsn', 'image_gan', cwd=tmp_path)
    assert '| camera | bicubic upscaling | `dsn` | `image_gan` |' in table
    study = tmp_path / 'study'
    crops = cv2.imread(str(study / 'crops.png'))
    assert crops.shape == (20 + 160, 4 * 160, 3)
    np.testing.assert_array_equal(crops[20:148, :128], cv2.imread(str(tmp_path / 'phone' / 'HR' / '070.png')))
    models = study / 'experiments' / 'phone-image_gan-0-srn' / 'models'
    assert (models / 'net_d_latest.pth').exists()
    start = models.parents[1] / 'phone-bicubic-0-srn' / 'models' / 'net_g_latest.pth'
    log = next(models.parent.glob('train_*.log')).read_text()
    assert f'Loaded IdentitySRVGGNetCompact from {start}.' in log
    assert 'train_image_gan.py -opt' in (study / 'cells' / 'phone-image_gan-0' / 'log.txt').read_text()
    error = run_python(*arguments, '--budget', '2', cwd=tmp_path).stderr
    assert "study' has a study with other settings of iterations. Choose another folder" in error


def test_phone_images_of_another_scale_are_refused(tmp_path: Path):
    for folder in ('HR', 'LR'):
        write_png(tmp_path / folder / '001.png', image('chelsea'))
    with pytest.raises(InputError, match=r"'.*LR/001.png' has 256x288 pixels, expected 128x144, those of HR over 2"):
        phone_pairs(tmp_path, 2)


def test_simulated_images(tmp_path: Path):
    cv2.imwrite(str(tmp_path / 'scene.png'), image('chelsea'))
    write_simulated(tmp_path, tmp_path / 'lr', 4, {'blur': [3, 2], 'noise': 4})
    lr = read_image(tmp_path / 'lr' / 'scene.png')
    expected = SimulatedCamera(4, gaussian_kernel(3, 2, 0.6, 4)).downsample(read_image(tmp_path / 'scene.png'))
    assert lr.shape == (64, 72, 3)
    assert 255 * (lr - expected).std() == pytest.approx(4, rel=0.05)


def test_real_esrgan_pairs(tmp_path: Path):
    cv2.imwrite(str(tmp_path / 'scene.png'), image('chelsea'))
    write_real_esrgan(tmp_path, tmp_path / 'pairs', 4, 128, seed=0)
    hr, lr = (list_images(tmp_path / 'pairs' / folder) for folder in ('HR', 'LR'))
    assert [path.name for path in hr] == [path.name for path in lr] == [f'scene_{number}.png' for number in range(4)]
    for hr_path, lr_path in zip(hr, lr, strict=True):
        small = cv2.resize(read_image(hr_path), None, fx=0.25, fy=0.25, interpolation=cv2.INTER_AREA)
        degraded = read_image(lr_path)
        assert degraded.shape == (32, 32, 3)
        assert 0.01 < np.abs(small - degraded).mean() < 0.2
        assert np.corrcoef(small.ravel(), degraded.ravel())[0, 1] > 0.5


def test_noise_of_flat_areas_is_added(tmp_path: Path):
    """The scene is a step, so that flat patches have the noise alone."""
    rng = np.random.default_rng(0)
    scene = np.full((160, 160, 3), 120, np.uint8)
    scene[:, 80:] = 180
    cv2.imwrite(str(tmp_path / 'hr.png'), np.repeat(np.repeat(scene, 2, 0), 2, 1))
    cv2.imwrite(str(tmp_path / 'camera.png'), np.uint8(scene + rng.normal(0, 6, scene.shape)))
    for folder in ('hr', 'camera'):
        (tmp_path / folder).mkdir()
        (tmp_path / f'{folder}.png').rename(tmp_path / folder / 'scene.png')
    write_kernel(tmp_path / 'kernels', 'mean', np.full((1, 1), 1.0))
    write_impressionism(tmp_path / 'hr', tmp_path / 'camera', tmp_path / 'kernels', tmp_path / 'lr', 2, seed=0)
    noise = to_8bit(read_image(tmp_path / 'lr' / 'scene.png')) - scene.astype(float)
    assert noise.std() == pytest.approx(6, rel=0.1) and abs(noise.mean()) < 0.2


def test_ablations_of_a_measured_camera(tmp_path: Path):
    dsn = KernelDSN(17, 2).eval()
    dsn.camera_noise.taps.fill_(1 / 7)
    dsn.camera_noise.offset.fill_(1)
    save_dsn(dsn, tmp_path / 'camera.pth')
    x = torch.rand(1, 3, 64, 64)
    write_ablation(tmp_path / 'camera.pth', tmp_path / 'no_kernel.pth', 'kernel')
    no_kernel = load_dsn(tmp_path / 'no_kernel.pth', torch.device('cpu'))
    torch.testing.assert_close(no_kernel(x).mean[..., 8:-8, 8:-8], bicubic_downsample(x, 2)[..., 8:-8, 8:-8])
    assert torch.equal(no_kernel.camera_noise.taps, dsn.camera_noise.taps)
    write_ablation(tmp_path / 'camera.pth', tmp_path / 'white.pth', 'correlation')
    white = load_dsn(tmp_path / 'white.pth', torch.device('cpu'))
    assert white.camera_noise.radius == 0 and torch.equal(white.camera_noise.offset, dsn.camera_noise.offset)
    torch.testing.assert_close(white(x).mean, dsn(x).mean)


def test_plots(tmp_path: Path):
    grid = {'methods': {f'images_{n}': {'camera_images': n} for n in (5, 20)} | {'bicubic': {}}}
    cells = [Cell(tmp_path, grid, 'phone', method, 0, tmp_path) for method in grid['methods']]
    table = {(cell.camera, cell.method): np.random.default_rng(0).random((2, 3, 3)) for cell in cells}
    write_plots(tmp_path, cells, table)
    assert sorted(path.name for path in tmp_path.iterdir()) == ['gains.png', 'images.png']
    assert min(cv2.imread(str(path)).std() for path in tmp_path.iterdir()) > 10


def test_interval_of_equal_differences_and_of_the_normal_distribution():
    baseline = np.random.default_rng(1).normal(25, 3, (1, 400))
    assert paired_interval(baseline + 0.5, baseline) == pytest.approx((0.5, 0.5, 0.5))
    noisy = baseline + np.random.default_rng(2).normal(0.5, 0.2, (1, 400))
    mean, low, high = paired_interval(noisy, baseline)
    assert low < mean < high
    assert high - low == pytest.approx(2 * 1.96 * 0.2 / 20, rel=0.15)


def test_share_of_the_gap():
    def psnr(value: float) -> np.ndarray:
        return np.full((2, 3, 1), value)

    assert gap_closed(psnr(23.5), psnr(23), psnr(24)) == pytest.approx(0.5)


def test_tables():
    """Differences are equal for all images, so that intervals have no width."""
    psnr = {'bicubic': 23.0, 'real_esrgan': 22.5, 'measured': 23.75, 'true_camera': 24.0}
    table = {
        (c, m): np.tile([value, 0.5, 24 - value], (3, 4, 1)) for c in ('bayer', 'phone') for m, value in psnr.items()
    }
    assert '| `phone` | +0.75 (+0.75 to +0.75) | -0.750 (-0.750 to -0.750) | +1.25 (+1.25 to +1.25) |' in _gains(table)
    assert '| -1.250 (-1.250 to -1.250) | 75% |' in _gains(table)
    table['phone', 'measured'][..., 0] += 0.5
    assert '| `measured` | 2 | +1.00 (+1.00 to +1.00) | 2 | 2 | -0.750 (-0.750 to -0.750) | 100% |' in _summary(table)
    assert '| `real_esrgan` | 2 | -0.50 (-0.50 to -0.50) | 0 | 0 | +0.500 (+0.500 to +0.500) | -50% |' in _summary(
        table
    )
