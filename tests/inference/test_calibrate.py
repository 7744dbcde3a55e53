"""Calibrated samples against the noise of simulated cameras, and their way through generation and stage 2."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from basicsr.models import build_model
from skimage import data

from python_process import ROOT, check_script, run_script
from tiny_runs import generated_batch, srn_options
from usrdu_basicsr.archs.camera_noise import CameraNoise, sample_lr
from usrdu_basicsr.archs.dsn_arch import UncertaintyDSN
from usrdu_basicsr.degradation.simulated_camera import SimulatedCamera
from usrdu_basicsr.degradation.simulated_sensor import FilmGrain
from usrdu_basicsr.inference.calibrate import calibrate
from usrdu_basicsr.inference.generate_lr import generate_set
from usrdu_basicsr.inference.lr_sampler import load_sampler
from usrdu_basicsr.storage.generated_set import generated_noise
from usrdu_basicsr.utils.checkpoint import write_checkpoint
from usrdu_basicsr.utils.errors import InputError

NAMES = ('astronaut', 'chelsea', 'coffee', 'rocket', 'retina', 'immunohistochemistry')
CAMERAS = {
    'white': SimulatedCamera(2, noise=6),
    'grain': SimulatedCamera(2, sensor=FilmGrain()),
    'jpeg': SimulatedCamera(2, noise=12, jpeg=(80,)),
}


@pytest.fixture(scope='module')
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """HR images and those of the cameras, of the same scenes, so that they have the same texture."""
    folder, rng = tmp_path_factory.mktemp('images'), np.random.default_rng(0)
    for name in NAMES:
        image = np.asarray(getattr(data, name)())[:400, :400, ::-1]
        for camera, take in CAMERAS.items():
            (folder / camera).mkdir(exist_ok=True)
            cv2.imwrite(str(folder / camera / f'{name}.png'), take(np.float32(image) / 255, rng))
        (folder / 'hr').mkdir(exist_ok=True)
        cv2.imwrite(str(folder / 'hr' / f'{name}.png'), image)
    return folder


def bicubic_dsn(noise: float = 1.0) -> UncertaintyDSN:
    """DSN whose mean is bicubic and whose noise has this standard deviation, gray levels."""
    net = UncertaintyDSN(num_feat=4, num_block=1, scale=2, residual=True).eval()
    with torch.no_grad():
        net.log_scale_head[4].weight.zero_()
        net.log_scale_head[4].bias.fill_(np.log(noise / 2**0.5))
    return net


@pytest.mark.parametrize('camera', CAMERAS)
def test_samples_get_the_noise_of_the_camera(folders: Path, camera: str):
    dsn = bicubic_dsn()
    before = {name: value.clone() for name, value in dsn.state_dict().items()}
    calibrated, calibration = calibrate(dsn, folders / 'hr', folders / camera)
    assert all(torch.equal(value, dsn.state_dict()[name]) for name, value in before.items()) and not calibrated.training
    wanted, got = calibration.camera, calibration.after
    torch.testing.assert_close(got.variance.sqrt(), wanted.variance.sqrt(), rtol=0.05, atol=0)
    assert (got.autocorrelation - wanted.autocorrelation).abs().max() < 0.05
    assert (calibration.before.variance.sqrt() / wanted.variance.sqrt()).max() < 0.5
    assert calibrated.camera_noise.compresses == (camera == 'jpeg')
    if camera == 'jpeg':
        assert calibrated.camera_noise.jpeg[77:84].sum() > 0.8
    if camera == 'grain':
        correlation = got.color_correlation[0, 1:]
        torch.testing.assert_close(correlation, wanted.color_correlation[0, 1:], rtol=0, atol=0.08)


def test_earlier_calibration_is_replaced(folders: Path):
    once, _ = calibrate(bicubic_dsn(3.0), folders / 'hr', folders / 'grain')
    twice, _ = calibrate(once, folders / 'hr', folders / 'white')
    expected, _ = calibrate(bicubic_dsn(3.0), folders / 'hr', folders / 'white')
    for name, value in expected.camera_noise.state_dict().items():
        assert torch.equal(twice.camera_noise.state_dict()[name], value)


def test_command_and_the_way_to_stage_2(folders: Path, tmp_path: Path):
    write_checkpoint(tmp_path / 'dsn.pth', {'params': bicubic_dsn().state_dict()})
    arguments = ('--model_path', 'dsn.pth', '--hr', folders / 'hr', '--lr', folders / 'grain', '-o', 'calibrated.pth')
    output = check_script(ROOT / 'scripts' / 'calibrate.py', *arguments, cwd=tmp_path).splitlines()
    assert [line.split(': noise of ')[0] for line in output] == ['camera', 'before', 'after']

    image = cv2.imread(str(folders / 'hr' / 'coffee.png'))
    sampler = load_sampler(tmp_path / 'calibrated.pth', 'cpu')
    samples = sampler(image, count=30, seed=1).astype(np.float64)
    residual = samples - samples.mean(0)
    expected = sampler.dsn.camera_noise.taps.double()
    neighbours = (residual[:, :, 1:] * residual[:, :, :-1]).mean() / (residual**2).mean()
    assert neighbours == pytest.approx(float((expected[:, 1:] * expected[:, :-1]).sum()), abs=0.05)

    generate_set(folders / 'hr', tmp_path / 'set', tmp_path / 'calibrated.pth', torch.device('cpu'))
    description = generated_noise(tmp_path / 'set')
    assert description == sampler.dsn.camera_noise.description()
    datasets = {'train': {'type': 'UncertaintyPairedDataset', 'dataroot_lq': str(tmp_path / 'set' / 'lr')}}
    model = build_model(srn_options(tmp_path) | {'datasets': datasets})
    batch = generated_batch()
    model.feed_data(batch)
    torch.manual_seed(3)
    got = model.training_lq()
    torch.manual_seed(3)
    assert torch.equal(got, sample_lr(batch['lq'], batch['log_scale'], sampler.dsn.camera_noise))

    wrong = json.loads((tmp_path / 'set' / 'generation.json').read_text())
    for change in (
        {'taps': [[1]]},
        {'jpeg': {'200': 1}},
        {'jpeg': {}},
        {'mix': None},
        {'mix': [[float('nan')] * 3] * 3},
    ):
        (tmp_path / 'set' / 'generation.json').write_text(json.dumps(wrong | {'noise': description | change}))
        with pytest.raises(InputError, match=r"generation.json': got an invalid noise. Generate the set again"):
            generated_noise(tmp_path / 'set')


def test_invalid_inputs_are_refused(folders: Path, tmp_path: Path):
    (tmp_path / 'white').mkdir()
    cv2.imwrite(str(tmp_path / 'white' / 'white.png'), np.full((64, 64, 3), 255, np.uint8))
    with pytest.raises(InputError, match=r"white': got no patch that is neither black nor white"):
        calibrate(bicubic_dsn(), folders / 'hr', tmp_path / 'white')
    (tmp_path / 'small').mkdir()
    cv2.imwrite(str(tmp_path / 'small' / 'small.png'), np.full((40, 40, 3), 99, np.uint8))
    (tmp_path / 'small' / 'broken.png').write_bytes(b'no image')
    with pytest.raises(InputError, match=r"small': got only images that are too small for a patch of 32 LR pixels"):
        calibrate(bicubic_dsn(), tmp_path / 'small', folders / 'white')
    write_checkpoint(tmp_path / 'dsn.pth', {'params': bicubic_dsn().state_dict()})
    arguments = ('--model_path', 'dsn.pth', '--hr', 'nowhere', '--lr', folders / 'white', '-o', 'out.pth')
    result = run_script(ROOT / 'scripts' / 'calibrate.py', *arguments, cwd=tmp_path)
    assert result.returncode == 1 and "'nowhere'" in result.stderr and 'Traceback' not in result.stderr
    assert not (tmp_path / 'out.pth').exists()
    result = run_script(ROOT / 'scripts' / 'calibrate.py', *arguments[:-1], 'white', cwd=tmp_path)
    assert result.returncode == 1 and "'white': got a folder, expected a file" in result.stderr


def test_description_of_a_new_calibration():
    assert CameraNoise.from_description(CameraNoise().description()).radius == 0
