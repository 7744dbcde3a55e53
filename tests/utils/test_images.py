"""Reading images, sizes from headers, corrupt files, and atomic writing of files and folders."""

import os
import struct
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from sample_images import sample_image
from usrdu_basicsr.storage.generated_set import log_scale_size
from usrdu_basicsr.utils.errors import InputError, WriteError
from usrdu_basicsr.utils.files import atomic_dir, atomic_write
from usrdu_basicsr.utils.images import heat_map, image_size, list_images, read_image, to_8bit


def save(path: Path, extension: str, orientation: int | None) -> Path:
    image = Image.fromarray(sample_image(height=40, width=60)[..., ::-1])
    exif = image.getexif()
    if orientation is not None:
        exif[0x0112] = orientation
    path = path.with_suffix(extension)
    image.save(path, exif=exif)
    return path


@pytest.mark.parametrize('extension', ['.png', '.jpg', '.tif', '.webp', '.bmp'])
@pytest.mark.parametrize('orientation', [None, 1, 3, 6])
def test_header_size_equals_decoded_size(tmp_path: Path, extension: str, orientation: int | None):
    path = save(tmp_path / 'image', extension, None if extension == '.bmp' else orientation)
    assert image_size(path) == read_image(path).shape[:2]


def test_size_of_an_image_with_invalid_exif_data(tmp_path: Path):
    entry = struct.pack('<HHII', 0x0112, 2, 2, ord('6'))  # orientation as a text
    exif = b'Exif\0\0II*\0' + struct.pack('<IH', 8, 1) + entry + bytes(4)
    Image.fromarray(sample_image(height=20, width=30)).save(tmp_path / 'image.jpg', exif=exif)
    assert image_size(tmp_path / 'image.jpg') == (20, 30) == read_image(tmp_path / 'image.jpg').shape[:2]


def test_size_of_floating_point_image(tmp_path: Path):
    image = np.random.rand(20, 30, 3).astype(np.float32)
    assert cv2.imwrite(str(tmp_path / 'float.tif'), image)
    assert image_size(tmp_path / 'float.tif') == (20, 30)
    np.testing.assert_allclose(read_image(tmp_path / 'float.tif'), image)


@pytest.mark.parametrize('extension', ['.png', '.jpg'])
def test_truncated_files_are_refused_and_trailing_bytes_accepted(tmp_path: Path, extension: str):
    path = save(tmp_path / 'image', extension, None)
    content = path.read_bytes()
    path.write_bytes(content + b'trailing bytes, as some phones write')
    assert image_size(path) == (40, 60)
    for length in (0, 1, 50, len(content) // 2):
        path.write_bytes(content[:length])
        with pytest.raises(InputError, match=r"cannot read image '.*image"):
            image_size(path)


def test_16_bit_images_keep_their_precision(tmp_path: Path):
    values = np.arange(60000, 60000 + 48, dtype=np.uint16).reshape(4, 4, 3)
    cv2.imwrite(str(tmp_path / 'deep.png'), values)
    np.testing.assert_allclose(read_image(tmp_path / 'deep.png') * 65535, values, atol=0.01)


@pytest.mark.parametrize(
    ('value', 'dtype', 'message'),
    [
        (-5, np.int16, 'got int16, expected uint8, uint16, or floating point'),
        (9, np.int8, 'got int8'),
        (9, np.int32, 'got int32'),
        (255, np.float32, r'got float32 from 255 to 255, expected \[0, 1\]'),
        (-0.1, np.float64, r'got float64 from -0.1 to -0.1'),
        (np.nan, np.float32, 'got float32 from nan to nan'),
    ],
)
def test_other_types_and_ranges_are_refused(tmp_path: Path, value: float, dtype: type, message: str):
    path = tmp_path / 'odd.tif'
    assert cv2.imwrite(str(path), np.full((8, 9, 3), value, dtype))
    with pytest.raises(InputError, match=rf"image '.*odd\.tif': {message}"):
        read_image(path)


def test_values_slightly_beyond_the_range_are_accepted(tmp_path: Path):
    assert cv2.imwrite(str(tmp_path / 'sharp.tif'), np.full((8, 9, 3), 1.003, np.float32))
    assert read_image(tmp_path / 'sharp.tif').max() == np.float32(1.003)


def test_pipes_are_not_read(tmp_path: Path):
    """Reading one would wait forever."""
    os.mkfifo(tmp_path / 'pipe.png')
    with pytest.raises(InputError, match='contains no image'):
        list_images(tmp_path)
    for read in (read_image, image_size, log_scale_size):  # a `meta_info` list may name it
        with pytest.raises(InputError, match=r"cannot read '.*pipe\.png': it is not a file"):
            read(tmp_path / 'pipe.png')


def test_8_bit_conversion_clips_and_rounds():
    assert to_8bit(np.array([-0.1, 0.0, 0.4999 / 255, 0.5001 / 255, 1.0, 2.0])).tolist() == [0, 0, 0, 1, 255, 255]


def test_heat_map_has_a_fixed_range():
    dark, bright = heat_map(np.array([[-1.0]])), heat_map(np.array([[3.0]]))
    assert dark.shape == (1, 1, 3) and dark.sum() < 30 < 400 < bright.sum()
    np.testing.assert_array_equal(heat_map(np.array([[9.0, -9.0]])), np.hstack([bright, dark]))


def test_failed_write_leaves_existing_file_unchanged(tmp_path: Path):
    path = tmp_path / 'folder' / 'file'
    atomic_write(path, lambda file: file.write(b'old'))

    def fail(file: object) -> None:
        file.write(b'half')
        raise OSError('full')

    with pytest.raises(OSError, match='full'):
        atomic_write(path, fail)
    assert path.read_bytes() == b'old' and [p.name for p in path.parent.iterdir()] == ['file']


def write_folder(path: Path, text: str, fail: bool = False) -> None:
    with atomic_dir(path, 'mark', overwrite=True) as folder:
        (folder / 'mark').write_text(text)
        if fail:
            raise OSError('full')


def test_folder_is_replaced_atomically(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / 'deep' / 'set'
    write_folder(path, 'old')
    with pytest.raises(WriteError, match=r"cannot write '.*set' \(full\)\. Free disk space or check the permissions"):
        write_folder(path, 'half', fail=True)
    assert (path / 'mark').read_text() == 'old' and [p.name for p in path.parent.iterdir()] == ['set']
    write_folder(path, 'new')
    assert (path / 'mark').read_text() == 'new' and [p.name for p in path.parent.iterdir()] == ['set']

    rename, calls = Path.rename, []

    def fail_once(self: Path, target: Path) -> Path:
        calls.append(self)
        if len(calls) == 2:  # the existing folder has been renamed, and renaming the new one fails
            raise OSError('no permission')
        return rename(self, target)

    monkeypatch.setattr(Path, 'rename', fail_once)
    with pytest.raises(WriteError, match='no permission'):
        write_folder(path, 'newest')
    assert len(calls) == 3 and (path / 'mark').read_text() == 'new'
    assert [p.name for p in path.parent.iterdir()] == ['set']
