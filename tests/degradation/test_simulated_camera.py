"""Simulated cameras against their documented parameters."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from sample_images import sample_image
from usrdu_basicsr.degradation.jpeg import jpeg_settings
from usrdu_basicsr.degradation.simulated_camera import CAMERAS, SimulatedCamera, made_camera
from usrdu_basicsr.degradation.simulated_sensor import BayerSensor, FilmGrain, linear_to_srgb, srgb_to_linear
from usrdu_basicsr.ops.kernels import kernel_downsample
from usrdu_basicsr.ops.resize import bicubic_downsample
from usrdu_basicsr.utils.errors import InputError
from usrdu_basicsr.utils.images import read_image, to_8bit, to_float

NOISELESS = BayerSensor(electrons=1e9, read_noise=0)


def flat(value: object, size: int = 512) -> np.ndarray:
    """Image of one BGR colour in gray levels, `(size, size, 3)` float32, [0, 1]."""
    return np.broadcast_to(np.float32(value) / 255, (size, size, 3))


def generator(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def channel_correlations(field: np.ndarray) -> np.ndarray:
    return np.corrcoef(field.reshape(-1, 3).T)[np.triu_indices(3, 1)]


@pytest.mark.parametrize('scale', [2, 4])
@pytest.mark.parametrize('name', CAMERAS)
def test_every_camera(name: str, scale: int):
    camera, hr = made_camera(name, scale), to_float(sample_image(height=25 * 4, width=27 * 4))
    image = camera(hr, generator())
    assert image.dtype == np.uint8 and image.shape == (100 // scale, 108 // scale, 3)
    np.testing.assert_array_equal(image, camera(hr, generator()))
    random = camera.noise > 0 or camera.sensor is not None
    assert np.array_equal(image, camera(hr, generator(1))) is not random
    x = torch.from_numpy(hr.transpose(2, 0, 1).copy())[None].double()
    kernel = camera.true_kernel()
    assert kernel.shape == (8 * scale + 1,) * 2 and kernel.sum() == pytest.approx(1)
    expected = kernel_downsample(x, torch.from_numpy(kernel)[None], scale)[0].numpy().transpose(1, 2, 0)
    np.testing.assert_allclose(camera.downsample(hr)[5:-5, 5:-5], expected[5:-5, 5:-5], rtol=0, atol=1e-5)


def test_errors_list_the_valid_values():
    with pytest.raises(InputError, match="got unknown name 'phone', expected one of noise_jpeg, anisotropic, bayer, "):
        made_camera('phone', 4)
    with pytest.raises(InputError, match="scale of camera 'bayer': got 3, expected 2 or 4"):
        made_camera('bayer', 3)


@pytest.mark.parametrize('scale', [2, 4])
def test_blur_widths_grow_with_the_scale(scale: int):
    widths = {'noise_jpeg': None, 'anisotropic': (1.8, 3.5), 'bayer': (2, 2), 'jpeg_twice': (2.5, 2.5)}
    for name, expected in (widths | {'film_grain': (2, 2), 'blur_only': (3, 3)}).items():
        camera = made_camera(name, scale)
        if expected is None:
            assert camera.kernel is None and camera.blur == scale / 4
            continue
        kernel = camera.true_kernel()
        y, x = np.mgrid[: len(kernel), : len(kernel)] - (len(kernel) // 2 + (scale - 1) / 2)
        moments = [(kernel * a * b).sum() for a, b in ((x, x), (x, y), (y, y))]
        variances, axes = np.linalg.eigh([moments[:2], moments[1:]])
        np.testing.assert_allclose(variances**0.5, np.array(expected) * scale / 4, rtol=0.02)
        if name == 'anisotropic':
            assert np.arctan(axes[1, 1] / axes[0, 1]) == pytest.approx(0.6, abs=0.01)


def test_camera_of_the_demo():
    hr, rng = to_float(sample_image()), generator(3)
    x = torch.from_numpy(cv2.GaussianBlur(hr, (0, 0), 1).transpose(2, 0, 1).copy())[None]
    lr = bicubic_downsample(x, 4)[0].numpy().transpose(1, 2, 0)
    noisy = to_8bit(lr + rng.normal(0, 12 / 255, lr.shape).astype(np.float32))
    expected = cv2.imdecode(cv2.imencode('.jpg', noisy, [cv2.IMWRITE_JPEG_QUALITY, 85])[1], cv2.IMREAD_COLOR)
    np.testing.assert_array_equal(made_camera('noise_jpeg', 4)(hr, generator(3)), expected)


@pytest.mark.parametrize(('name', 'level'), [('noise_jpeg', 12), ('anisotropic', 5), ('jpeg_twice', 2)])
def test_white_noise(name: str, level: float):
    camera = replace(made_camera(name, 2), jpeg=())
    noise = camera(flat(128), generator()).astype(np.float64) - 128
    assert noise.std() == pytest.approx((level**2 + 1 / 12) ** 0.5, rel=0.02)  # with that of rounding
    np.testing.assert_allclose(channel_correlations(noise), 0, atol=0.02)
    assert abs((noise[1:] * noise[:-1]).mean()) < 0.02 * level**2


def test_jpeg_equals_a_saved_file(tmp_path: Path):
    hr = to_float(sample_image())
    for name, qualities in (('noise_jpeg', [85]), ('bayer', [90]), ('jpeg_twice', [50, 50])):
        camera = made_camera(name, 2)
        expected = replace(camera, jpeg=())(hr, generator())
        for quality in qualities:
            path = tmp_path / 'saved.jpg'
            cv2.imwrite(str(path), expected, [cv2.IMWRITE_JPEG_QUALITY, quality])
            assert jpeg_settings(path.read_bytes()) == (quality, f'quality {quality}, 4:2:0')
            expected = to_8bit(read_image(path))
        np.testing.assert_array_equal(camera(hr, generator()), expected)


def test_film_grain_statistics():
    grain = made_camera('film_grain', 4).sensor
    assert grain == FilmGrain(level=8, std=0.8, correlation=0.5)
    noise = np.stack([grain(flat(127.5), generator(seed)) * 255 - 127.5 for seed in range(4)])
    assert noise.dtype == np.float32 and noise.mean() == pytest.approx(0, abs=0.1)
    for rows, columns in ((0, 1), (1, 0), (1, 1), (0, 2)):
        moved = noise[:, rows:, columns:]
        product = (moved * noise[:, : noise.shape[1] - rows, : noise.shape[2] - columns]).mean()
        expected = np.exp(-(rows**2 + columns**2) / (4 * 0.8**2))
        assert product / noise.var() == pytest.approx(expected, abs=0.02)
    np.testing.assert_allclose(channel_correlations(noise), 0.5, atol=0.02)
    spread = noise.std((0, 3))  # as large at the borders as inside
    assert spread[0].mean() == pytest.approx(spread[9:-9, 9:-9].mean(), rel=0.05)


@pytest.mark.parametrize(('gray', 'factor'), [(0, 0.5), (51, 0.82), (127.5, 1), (204, 0.82), (255, 0.5)])
def test_film_grain_level_by_tone(gray: float, factor: float):
    grain = FilmGrain()
    assert grain.level_at(np.array(gray / 255)) == pytest.approx(8 * factor)
    for channel in range(3):
        noise = grain(flat(gray), generator())[..., channel] * 255
        assert noise.std() == pytest.approx(8 * factor, rel=0.02)


def test_srgb_curve():
    np.testing.assert_allclose(srgb_to_linear(np.array([0, 0.02, 0.5, 1])), [0, 0.02 / 12.92, 0.214041, 1], atol=1e-6)
    values = np.linspace(0, 1, 999)
    np.testing.assert_allclose(linear_to_srgb(srgb_to_linear(values)), values, atol=1e-6)


@pytest.mark.parametrize('colour', [(60, 120, 200), (200, 120, 60), (90, 200, 70), (128, 128, 128)])
def test_bayer_colours_of_a_flat_image(colour: tuple[int, int, int]):
    for size in (2, 7):  # also of odd sizes
        np.testing.assert_allclose(NOISELESS(flat(colour, size), generator()) * 255, flat(colour, size) * 255, atol=0.1)
    for camera in (made_camera('bayer', 2), replace(made_camera('bayer', 2), jpeg=())):
        np.testing.assert_allclose(camera(flat(colour), generator()).mean((0, 1)), colour, atol=1)


def test_bayer_noise_level_of_the_camera():
    camera = replace(made_camera('bayer', 2), jpeg=())
    levels = camera(flat(128), generator()).std((0, 1))
    assert levels.min() > 4.5 and levels.max() < 6, levels


@pytest.mark.parametrize('gray', [60, 128, 220])
def test_bayer_noise_equals_the_closed_form(gray: int):
    sensor, light = BayerSensor(sharpening=0), srgb_to_linear(np.array(gray / 255))
    colours = sensor(flat(gray), generator()).astype(np.float64)
    measured = srgb_to_linear(colours).std((0, 1)) / sensor.raw_noise(light)
    # An interpolated pixel is the mean of 2 or 4 raw values. Green: 1/2 + 1/2 * 1/4;
    # red and blue: 1/4 + 1/2 * 1/2 + 1/4 * 1/4
    np.testing.assert_allclose(measured, np.sqrt([0.5625, 0.625, 0.5625]), rtol=0.02)


def test_bayer_noise_increases_with_light():
    levels = [srgb_to_linear(BayerSensor()(flat(gray), generator())).std() for gray in (20, 60, 128, 180, 230)]
    assert np.all(np.diff(levels) > 0)


def test_bayer_mean_equals_the_image_without_noise():
    image = to_float(sample_image(height=32, width=40)) * 0.6 + 0.3
    sensor, rng = BayerSensor(), generator()
    mean = np.mean([sensor(image, rng) for _ in range(600)], 0)
    difference = (mean - NOISELESS(image, generator())) * 255
    assert np.abs(difference).mean() < 0.5 and np.abs(difference.mean()) < 0.3  # the gamma curve darkens noise


def test_bayer_does_not_shift_the_image():
    y, x = np.mgrid[:32, :32]
    for row, column in ((15, 15), (15, 16), (16, 15), (16, 16), (15.5, 15.5)):
        dot = np.exp(-((y - row) ** 2 + (x - column) ** 2) / (2 * 1.5**2))
        image = np.float32(0.2 + 0.5 * dot)[..., None].repeat(3, 2)
        weights = NOISELESS(image, generator()) - 0.2
        total = weights.sum((0, 1))
        centre = [(weights * axis[..., None]).sum((0, 1)) / total for axis in (y, x)]
        np.testing.assert_allclose(centre[0], row, atol=0.1)
        np.testing.assert_allclose(centre[1], column, atol=0.1)


def test_sensor_clips_its_input_and_white_noise_is_added_to_it():
    overshoot = np.full((8, 8, 3), 1.2, np.float32)
    np.testing.assert_allclose(NOISELESS(overshoot, generator()), 1, atol=1e-3)
    camera = SimulatedCamera(1, noise=10, sensor=NOISELESS)
    assert camera(flat(128), generator()).std() == pytest.approx(10, rel=0.02)
