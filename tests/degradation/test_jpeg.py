"""JPEG settings of files and of pixels."""

import io
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image, PngImagePlugin
from skimage import data

from usrdu_basicsr.degradation.jpeg import estimate_quality, jpeg_settings

PHOTOS = {name: getattr(data, name)()[::2, ::2] for name in ('astronaut', 'chelsea', 'coffee', 'rocket')}  # RGB


def jpeg(image: np.ndarray, quality: int, subsampling: str = '4:2:0') -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, 'JPEG', quality=quality, subsampling=subsampling)
    return buffer.getvalue()


def decoded(content: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(content)))


def png(image: np.ndarray) -> bytes:
    return cv2.imencode('.png', image[..., ::-1])[1].tobytes()


@pytest.mark.parametrize('qualities', [(30,), (75,), (95, 50)])
@pytest.mark.parametrize('subsampling', ['4:2:0', '4:2:2', '4:4:4'])
def test_settings_from_tables(qualities: tuple[int, ...], subsampling: str):
    image = PHOTOS['astronaut']
    for quality in qualities[:-1]:
        image = decoded(jpeg(image, quality))
    quality = qualities[-1]
    assert jpeg_settings(jpeg(image, quality, subsampling)) == (quality, f'quality {quality}, {subsampling}')


def test_files_without_a_setting():
    gray, cmyk, text = io.BytesIO(), io.BytesIO(), io.BytesIO()
    Image.fromarray(PHOTOS['coffee']).convert('L').save(gray, 'JPEG', quality=80)
    Image.fromarray(PHOTOS['coffee']).convert('CMYK').save(cmyk, 'JPEG', quality=80)
    information = PngImagePlugin.PngInfo()
    information.add_itxt('XML', 'x' * (PngImagePlugin.MAX_TEXT_CHUNK + 1), zip=True)
    Image.fromarray(PHOTOS['coffee']).save(text, 'PNG', pnginfo=information)
    contents = [each.getvalue() for each in (gray, cmyk, text)]
    contents += [png(PHOTOS['coffee']), b'', b'not an image', png(PHOTOS['coffee'])[:500], zlib.compress(b'data')]
    expected = [(80, 'quality 80, gray'), (80, 'quality 80, CMYK'), (0, 'unreadable'), (0, 'no JPEG')]
    assert [jpeg_settings(content) for content in contents] == expected + 4 * [(0, 'unreadable')]


def test_file_without_table_0():
    content = jpeg(PHOTOS['coffee'], 80)
    start = content.index(b'\xff\xdb')  # the first table: marker, length, number, steps
    assert content[start + 4] == 0
    changed = content[: start + 4] + b'\x02' + content[start + 5 :]
    assert jpeg_settings(changed).label == 'quality 80, 4:2:0'


@pytest.mark.parametrize('quality', [30, 50, 70, 85, 95])
@pytest.mark.parametrize('noise', [0, 6])
def test_quality_from_pixels(quality: int, noise: float):
    rng = np.random.default_rng(0)
    for image in PHOTOS.values():
        image = (image + rng.normal(0, noise, image.shape)).clip(0, 255).astype(np.uint8)
        once = decoded(jpeg(image, quality))
        twice = decoded(jpeg(once, quality))
        for pixels in (once, twice, decoded(jpeg(image, quality, '4:4:4'))):
            assert estimate_quality(pixels[..., ::-1]) == pytest.approx(quality, abs=3)
    estimate = estimate_quality(once[..., ::-1])
    assert jpeg_settings(png(once)) == (estimate, f'estimated quality {estimate}')


@pytest.mark.parametrize('noise', [0, 1, 6, 20])
def test_pixels_without_compression(noise: float):
    rng = np.random.default_rng(0)
    for image in [*PHOTOS.values(), np.full((64, 64, 3), 90)]:
        pixels = (image + rng.normal(0, noise, image.shape)).clip(0, 255).astype(np.uint8)
        assert estimate_quality(pixels) is None
    assert estimate_quality(np.zeros((7, 9, 3), np.uint8)) is None


@pytest.mark.parametrize('noise', [0, 0.5, 1, 4])
def test_smooth_images_and_patterns_without_compression(noise: float):
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:120, :160]
    images = [slope * x % 256 for slope in (0.25, 0.5, 1, 1.5, 3)] + [(x + y) / 2, x - 2 * y + 200]
    images += [128 + 60 * np.sin(x / 9) * np.cos(y / 7), 128 + 60 * np.cos(np.hypot(x - 80, y - 60) / 5)]
    images += [40 + 160 * ((x // size + y // size) % 2) for size in (2, 4, 8, 16)] + [40 + 160 * (x // 12 % 2)]
    images += [np.full((256, 256), value) for value in (60, 90, 131)]
    for image in images:
        pixels = np.rint(image[..., None] + rng.normal(0, noise, (*image.shape, 3))).clip(1, 254).astype(np.uint8)
        assert estimate_quality(pixels) is None


@pytest.mark.parametrize('quality', [50, 90])
def test_another_grid_is_not_recognised(quality: int):
    for image in PHOTOS.values():
        assert estimate_quality(decoded(jpeg(image, quality))[3:, 5:, ::-1]) is None


def test_quality_of_small_and_of_smooth_images():
    retina = data.retina()[::2, ::2]  # few coefficients differ from 0
    for image in (PHOTOS['astronaut'][:80, :120], retina):
        for quality in (30, 60, 90, 95):
            assert estimate_quality(decoded(jpeg(image, quality))[..., ::-1]) == pytest.approx(quality, abs=3)
