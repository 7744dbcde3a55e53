"""Fidelity of generated sets: a matching set, and each known failure."""

import math
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from skimage import data

from python_process import ROOT, check_script
from usrdu_basicsr.archs.camera_noise import CameraNoise
from usrdu_basicsr.degradation.simulated_camera import SimulatedCamera, gaussian_kernel
from usrdu_basicsr.inference.audit import audit
from usrdu_basicsr.storage import generated_set
from usrdu_basicsr.utils.errors import InputError

NAMES = ('astronaut', 'chelsea', 'coffee', 'rocket', 'retina', 'immunohistochemistry')
NOISE = 8.0
KERNEL = gaussian_kernel(1.5, 1.5, 0, 2)


def scenes() -> dict[str, np.ndarray]:
    return {name: np.asarray(getattr(data, name)())[:400, :400, ::-1] for name in NAMES}


def write(folder: Path, take: SimulatedCamera, shift: float = 0) -> Path:
    folder.mkdir()
    rng = np.random.default_rng(len(folder.name))
    for name, image in scenes().items():
        lr = take(np.float32(image) / 255, rng)
        cv2.imwrite(str(folder / f'{name}.png'), (lr + np.array([0, shift, 0])).clip(0, 255).round())
    return folder


@pytest.fixture(scope='module')
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp('images')
    write(folder / 'camera', SimulatedCamera(2, KERNEL, NOISE))
    write(folder / 'other', SimulatedCamera(2, KERNEL, NOISE))
    (folder / 'hr').mkdir()
    for name, image in scenes().items():
        cv2.imwrite(str(folder / 'hr' / f'{name}.png'), image)
    return folder


def write_set(folder: Path, noise: float, description: dict | None = None) -> Path:
    """Generated set with the camera's mean and Laplace noise of this standard deviation."""
    folder.mkdir()
    write(folder / 'lr', SimulatedCamera(2, KERNEL, 0))
    for name, image in scenes().items():
        log_scale = np.full((image.shape[0] // 2, image.shape[1] // 2, 3), math.log(noise / 2**0.5))
        generated_set.write_log_scale(folder / 'log_scale' / f'{name}.npy', log_scale)
    generated_set.write_description(folder, {'scale': 2} | ({} if description is None else {'noise': description}))
    return folder


@pytest.mark.parametrize('with_hr', [False, True])
def test_images_of_the_same_camera_match(folders: Path, with_hr: bool):
    fidelity = audit(folders / 'camera', folders / 'other', folders / 'hr' if with_hr else None)
    assert list(fidelity.findings()) == [] and fidelity.score > 95
    assert fidelity.real_noise == pytest.approx(NOISE, rel=0.05) == fidelity.generated_noise
    assert fidelity.spectral_distance < 0.5 and fidelity.noise_divergence < 0.02
    assert fidelity.color_shift is None if not with_hr else fidelity.color_shift < 1


@pytest.mark.parametrize(
    ('noise', 'finding'),
    [(NOISE, None), (2.4 * NOISE, "Generated noise is 2.4 times the camera's."), (0.3, 'No noise is generated.')],
)
def test_noise_of_a_generated_set(folders: Path, tmp_path: Path, noise: float, finding: str | None):
    fidelity = audit(folders / 'camera', write_set(tmp_path / 'set', noise), folders / 'hr')
    expected = math.hypot(noise, 12**-0.5)
    assert fidelity.generated_noise == pytest.approx(expected, rel=0.05, abs=0.25)  # means are rounded
    assert fidelity.level_error == pytest.approx(abs(noise / NOISE - 1), abs=0.05)
    found = list(fidelity.findings())
    assert found == [] if finding is None else finding in found
    assert (fidelity.score > 95) is (finding is None)


def test_a_set_without_any_noise(folders: Path, tmp_path: Path):
    clean = write(tmp_path / 'clean', SimulatedCamera(2, KERNEL, 0))
    fidelity = audit(clean, write_set(tmp_path / 'set', 1e-6), folders / 'hr')
    assert fidelity.generated_noise == pytest.approx(0, abs=0.01)
    assert list(fidelity.findings()) == [] and fidelity.score > 95  # the camera's noise is that of rounding


def test_correlated_noise_of_a_calibrated_set(folders: Path, tmp_path: Path):
    noise = CameraNoise()
    noise.taps[2:5, 2:5] = torch.tensor([[0.2, 0.4, 0.2], [0.4, 0.8, 0.4], [0.2, 0.4, 0.2]])
    noise.taps /= noise.taps.square().sum().sqrt()
    fidelity = audit(folders / 'camera', write_set(tmp_path / 'set', NOISE, noise.description()), folders / 'hr')
    assert fidelity.correlation_error > 0.4 and fidelity.level_error < 0.15
    assert any(finding.startswith('The correlation of the noise differs') for finding in fidelity.findings())


def test_blur_colours_and_a_camera_without_noise(folders: Path, tmp_path: Path):
    sharp = audit(folders / 'camera', write(tmp_path / 'sharp', SimulatedCamera(2, None, NOISE)), folders / 'hr')
    assert sharp.spectral_distance > 1.5 and 'Blur or texture differ' in ' '.join(sharp.findings())
    green = audit(folders / 'camera', write(tmp_path / 'green', SimulatedCamera(2, KERNEL, NOISE), 6), folders / 'hr')
    assert green.color_shift == pytest.approx(6, abs=0.5)
    assert any(finding.startswith('Colours are shifted by up to') for finding in green.findings())
    clean = write(tmp_path / 'clean', SimulatedCamera(2, KERNEL, 0))
    added = audit(clean, folders / 'camera', folders / 'hr')
    assert 'The camera has no visible noise; generated images have 8.0 gray levels.' in list(added.findings())


def test_command(folders: Path):
    arguments = ('--lr', 'camera', '--generated', 'other', '--hr', 'hr')
    output = check_script(ROOT / 'scripts' / 'audit.py', *arguments, cwd=folders)
    assert output.endswith('\nGenerated images match those of the camera.\n') and 'level_error: 0.0' in output


def test_invalid_sets_are_refused(folders: Path, tmp_path: Path):
    broken = write_set(tmp_path / 'set', NOISE)
    (broken / 'log_scale' / 'coffee.npy').unlink()
    with pytest.raises(InputError, match='coffee'):
        audit(folders / 'camera', broken)
    with pytest.raises(InputError, match=r"got 200x200 pixels, expected a fraction of HR's 150x400"):
        (tmp_path / 'hr').mkdir()
        for name, image in scenes().items():
            cv2.imwrite(str(tmp_path / 'hr' / f'{name}.png'), image[:150])
        audit(folders / 'camera', folders / 'other', tmp_path / 'hr')


def test_means_of_a_set_are_refused(folders: Path, tmp_path: Path):
    write_set(tmp_path / 'set', NOISE)
    with pytest.raises(InputError, match=r"got the means '.*lr' of a set, expected the set. Pass '.*'"):
        audit(folders / 'camera', tmp_path / 'set' / 'lr')


def test_noise_that_was_not_measured_by_brightness_has_no_numbers(folders: Path):
    """A single image has too few patches of similar brightness."""
    fidelity = audit(folders / 'camera', folders / 'other', images=1)
    assert fidelity.brightness_error is None and fidelity.noise_divergence is None
    assert not {'brightness_error', 'noise_divergence'} & fidelity.numbers().keys()
