"""Image files: bit depth, gray, transparency, colour profile, orientation."""

import io
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image, ImageCms, ImageOps, PngImagePlugin

from sample_images import sample_image
from usrdu_basicsr.inference.image_file import ImageFile, read_image_file, write_image_file
from usrdu_basicsr.utils.errors import InputError
from usrdu_basicsr.utils.images import image_size, read_image

PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile('sRGB')).tobytes()
COLOUR = sample_image(height=12, width=20)
GRAY = cv2.cvtColor(COLOUR, cv2.COLOR_BGR2GRAY)[..., None]
ALPHA = np.dstack([COLOUR, np.arange(240, dtype=np.uint8).reshape(12, 20)])


@pytest.mark.parametrize('orientation', range(1, 9))
@pytest.mark.parametrize('file_format', ['PNG', 'JPEG', 'WEBP', 'TIFF'])
def test_orientation_is_applied_once(tmp_path: Path, file_format: str, orientation: int):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f'rotated.{file_format.lower()}'
    settings = {'lossless': True} if file_format == 'WEBP' else {}
    Image.fromarray(COLOUR[..., ::-1]).save(path, exif=exif, **settings)
    with Image.open(path) as image:
        expected = np.asarray(ImageOps.exif_transpose(image))[..., ::-1].astype(int)
    got = read_image_file(path).pixels
    assert got.shape == expected.shape and np.abs(got - expected).max() <= (3 if file_format == 'JPEG' else 0)
    np.testing.assert_array_equal(got, (read_image(path) * 255).round())


@pytest.mark.parametrize('profile', [None, PROFILE])
@pytest.mark.parametrize('pixels', [COLOUR, ALPHA, COLOUR.astype(np.uint16) * 257 + 3, ALPHA.astype(np.uint16) * 200])
def test_png_preserves_pixels_and_profile(tmp_path: Path, pixels: np.ndarray, profile: bytes | None):
    write_image_file(tmp_path / 'image.png', ImageFile(pixels, profile))
    got = read_image_file(tmp_path / 'image.png')
    np.testing.assert_array_equal(got.pixels, pixels)
    assert got.pixels.dtype == pixels.dtype and got.icc_profile == profile
    with Image.open(tmp_path / 'image.png') as image:  # a second reader, which verifies the checksums
        image.load()
        assert image.info.get('icc_profile') == profile


def test_gray_stays_gray(tmp_path: Path):
    for pixels in (GRAY, GRAY.astype(np.uint16) * 257):
        for name in ('gray.png', 'gray.jpg')[: 2 if pixels.dtype == np.uint8 else 1]:
            write_image_file(tmp_path / name, ImageFile(pixels))
            got = read_image_file(tmp_path / name).pixels
            assert got.shape == pixels.shape and got.dtype == pixels.dtype
            with Image.open(tmp_path / name) as image:
                assert image.mode in ('L', 'I;16')
        assert np.array_equal(read_image_file(tmp_path / 'gray.png').pixels, pixels)


@pytest.mark.parametrize('name', ['image.jpg', 'image.JPEG', 'image.webp'])
def test_lossy_formats_preserve_colours_profile_and_alpha(tmp_path: Path, name: str):
    smooth = cv2.GaussianBlur(COLOUR, (0, 0), 3)
    write_image_file(tmp_path / name, ImageFile(smooth, PROFILE))
    got = read_image_file(tmp_path / name)
    assert got.icc_profile == PROFILE
    assert np.abs(got.pixels.astype(int) - smooth).mean() < 3  # fails if red and blue are swapped
    if name.endswith('webp'):
        transparent = np.dstack([smooth, ALPHA[..., 3]])
        write_image_file(tmp_path / name, ImageFile(transparent))
        np.testing.assert_array_equal(read_image_file(tmp_path / name).pixels[..., 3], transparent[..., 3])


@pytest.mark.parametrize(
    ('name', 'pixels', 'message'),
    [
        ('image.jpg', ALPHA, "image.jpg': JPEG does not support transparency. Use --ext png or webp"),
        ('image.jpg', COLOUR.astype(np.uint16), "image.jpg': JPEG does not support 16 bits. Use --ext png"),
        ('image.webp', COLOUR.astype(np.uint16), "image.webp': WEBP does not support 16 bits"),
        ('image.webp', np.zeros((2, 16384, 3), np.uint8), 'WEBP supports at most 16383 pixels a side'),
        ('image.png', COLOUR.astype(np.float32), 'got float32, expected uint8 or uint16 for PNG'),
    ],
)
def test_unsupported_images_are_rejected(tmp_path: Path, name: str, pixels: np.ndarray, message: str):
    with pytest.raises(InputError, match=message):
        write_image_file(tmp_path / name, ImageFile(pixels))
    assert not list(tmp_path.iterdir())


def test_palette_and_other_modes_are_converted(tmp_path: Path):
    rgb = Image.fromarray(COLOUR[..., ::-1])
    for mode, channels in (('P', 3), ('1', 1), ('LA', 4), ('CMYK', 3)):
        path = tmp_path / f'{mode}.{"jpg" if mode == "CMYK" else "png"}'
        rgb.convert(mode).save(path)
        got = read_image_file(path).pixels
        assert got.shape == (12, 20, channels) and got.dtype == np.uint8
    rgb.quantize(4).save(tmp_path / 'transparent.png', transparency=0)
    assert read_image_file(tmp_path / 'transparent.png').pixels.shape == (12, 20, 4)


def test_profile_of_another_colour_space_is_reported(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    """CMYK images are read as RGB, for which their profile is wrong."""
    profile = bytearray(PROFILE)
    profile[16:20] = b'CMYK'
    Image.fromarray(COLOUR[..., ::-1]).convert('CMYK').save(tmp_path / 'print.jpg', icc_profile=bytes(profile))
    assert read_image_file(tmp_path / 'print.jpg').icc_profile is None
    assert "print.jpg': colour profile ignored: it is for CMYK" in caplog.text


def test_large_metadata_is_read(tmp_path: Path):
    """Pillow by default refuses large profiles and long texts, such as the workflows that some programs write."""
    texts = PngImagePlugin.PngInfo()
    texts.add_text('workflow', 'x' * 3_000_000, zip=True)
    exif = Image.Exif()
    exif[0x0112] = 6
    profile = PROFILE + bytes(3_000_000)
    image = Image.fromarray(COLOUR[..., ::-1])
    image.save(tmp_path / 'long.png', pnginfo=texts, exif=exif, icc_profile=profile)
    limits = Image.MAX_IMAGE_PIXELS, PngImagePlugin.MAX_TEXT_CHUNK
    got = read_image_file(tmp_path / 'long.png')
    np.testing.assert_array_equal(got.pixels, np.rot90(COLOUR, -1))
    assert got.icc_profile == profile
    assert limits == (Image.MAX_IMAGE_PIXELS, PngImagePlugin.MAX_TEXT_CHUNK)
    assert image_size(tmp_path / 'long.png') == (20, 12)


def test_pixel_limit_of_pillow_is_lifted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new('L', (135, 133)).save(tmp_path / 'large.jpg', exif=exif, icc_profile=PROFILE)
    monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', 1000)
    with pytest.raises(Image.DecompressionBombError):
        Image.open(tmp_path / 'large.jpg')
    assert read_image_file(tmp_path / 'large.jpg').pixels.shape == (135, 133, 1)


def test_transparency_of_gray_is_read(tmp_path: Path):
    gray = Image.fromarray(np.arange(240, dtype=np.uint8).reshape(12, 20))
    gray.save(tmp_path / 'gray.png', transparency=7)
    got = read_image_file(tmp_path / 'gray.png').pixels
    assert got.shape == (12, 20, 4) and np.array_equal(got[..., 0], np.asarray(gray))
    np.testing.assert_array_equal(got[..., 3], np.where(np.asarray(gray) == 7, 0, 255))


@pytest.mark.parametrize('mode', ['RGBA', 'LA'])
def test_colours_of_a_transparent_tiff_are_not_multiplied(tmp_path: Path, mode: str):
    colours, alpha = Image.fromarray(COLOUR[..., ::-1]), Image.new('L', COLOUR.shape[1::-1], 128)
    alpha.paste(0, (0, 0, 5, 5))
    image = colours.convert(mode)
    image.putalpha(alpha)
    image.save(tmp_path / 'image.tif')
    expected = np.asarray(image.convert('RGBA'))[..., [2, 1, 0, 3]]
    np.testing.assert_array_equal(read_image_file(tmp_path / 'image.tif').pixels, expected)
    np.testing.assert_allclose(read_image(tmp_path / 'image.tif'), expected[..., :3] / np.float32(255))


def test_several_pages_are_reported(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    image = Image.fromarray(COLOUR[..., ::-1])
    image.save(tmp_path / 'pages.tif', save_all=True, append_images=[image])
    np.testing.assert_array_equal(read_image_file(tmp_path / 'pages.tif').pixels, COLOUR)
    assert "pages.tif' has several pages or frames: only the first one is used" in caplog.text


def test_webp_omits_a_gray_profile(tmp_path: Path):
    profile = PROFILE[:16] + b'GRAY' + PROFILE[20:]
    write_image_file(tmp_path / 'gray.webp', ImageFile(GRAY, profile))
    assert read_image_file(tmp_path / 'gray.webp').icc_profile is None
    write_image_file(tmp_path / 'gray.png', ImageFile(GRAY, profile))
    assert read_image_file(tmp_path / 'gray.png').icc_profile == profile


def test_tiff_keeps_16_and_32_bits(tmp_path: Path):
    pixels = COLOUR.astype(np.uint16) * 257
    assert cv2.imwrite(str(tmp_path / 'scan.tif'), pixels)
    np.testing.assert_array_equal(read_image_file(tmp_path / 'scan.tif').pixels, pixels)
    assert cv2.imwrite(str(tmp_path / 'float.tif'), COLOUR.astype(np.float32) / 255)
    np.testing.assert_array_equal(read_image_file(tmp_path / 'float.tif').pixels, COLOUR.astype(np.float32) / 255)


def test_corrupt_file_is_reported(tmp_path: Path):
    buffer = io.BytesIO()
    Image.fromarray(COLOUR).save(buffer, 'PNG')
    for content in (b'', b'text', buffer.getvalue()[:150]):
        (tmp_path / 'bad.png').write_bytes(content)
        with pytest.raises(InputError, match=r"bad\.png': "):
            read_image_file(tmp_path / 'bad.png')
    with pytest.raises(InputError, match=r"cannot read '.*nowhere\.png'"):
        read_image_file(tmp_path / 'nowhere.png')
