"""Kernel files: reading, padding and rejected files."""

import struct
import zlib
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import scipy.io.matlab
from scipy.io import loadmat, savemat
from scipy.sparse import csc_matrix

from usrdu_basicsr.data.kernel_set import list_kernels, read_kernel, read_kernel_set, write_kernel
from usrdu_basicsr.storage.mat_file import decode_arrays
from usrdu_basicsr.utils.errors import InputError, InputNotFoundError


def box(height: int, width: int) -> np.ndarray:
    return np.full((height, width), 1 / (height * width))


def test_both_formats_contain_the_kernel(tmp_path: Path):
    kernel = np.random.default_rng(0).dirichlet(np.ones(35)).reshape(5, 7)
    write_kernel(tmp_path / 'set', 'ä b', kernel)
    for extension in ('npy', 'mat'):
        np.testing.assert_array_equal(read_kernel(tmp_path / 'set' / f'ä b.{extension}'), kernel)
    np.testing.assert_array_equal(loadmat(tmp_path / 'set' / 'ä b.mat')['Kernel'], kernel)
    assert [path.name for path in list_kernels(tmp_path / 'set')] == ['ä b.npy']  # once, not twice


def test_padding_aligns_kernels_of_any_size(tmp_path: Path):
    for name, shape in {'a': (3, 3), 'b': (4, 2), 'c': (1, 7)}.items():
        kernel = np.zeros(shape)
        kernel[shape[0] // 2, shape[1] // 2] = 1  # scipy.ndimage.correlate's origin
        write_kernel(tmp_path, name, kernel)
    (tmp_path / 'notes.txt').write_text('not a kernel')
    kernels = read_kernel_set(tmp_path, 7)
    assert kernels.shape == (3, 7, 7) and kernels.dtype == np.float32
    assert (kernels[:, 3, 3] == 1).all() and kernels.sum() == 3


@pytest.mark.parametrize(
    ('kernel', 'message'),
    [
        (box(3, 3)[None], r'float64 of shape \(1, 3, 3\), expected a real matrix'),
        (np.array(1.0), r'float64 of shape \(\), expected'),
        (box(3, 3) + 0j, r'complex128 of shape'),
        (box(3, 3) * np.nan, 'contains non-finite values'),
        (np.full((2, 2), np.inf), 'contains non-finite values'),
        (box(3, 3) * 255, 'got sum 255, expected 1'),
        (np.zeros((3, 3)), 'got sum 0, expected 1'),
        (np.zeros((0, 3)), 'got sum 0, expected 1'),
        (box(65, 3), 'got 65x3 pixels, expected at most 64x64'),
    ],
)
def test_malformed_kernel_is_reported(tmp_path: Path, kernel: np.ndarray, message: str):
    write_kernel(tmp_path, 'good', box(3, 3))
    np.save(tmp_path / 'odd.npy', kernel)
    with pytest.raises(InputError, match=rf"odd\.npy'.*{message}"):
        read_kernel_set(tmp_path, 64)


@pytest.mark.parametrize('name', ['odd.npy', 'odd.mat'])
@pytest.mark.parametrize('content', [b'', b'not a kernel', 'truncated'])
def test_corrupt_file_is_reported(tmp_path: Path, name: str, content: bytes | str):
    write_kernel(tmp_path, 'odd', box(9, 9))
    path = tmp_path / name
    path.write_bytes(path.read_bytes()[:300] if content == 'truncated' else content)
    with pytest.raises(InputError, match=rf"cannot read kernel '.*{name}'"):
        read_kernel(path)


def test_pickled_file_is_rejected(tmp_path: Path):
    np.save(tmp_path / 'odd.npy', np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(InputError, match='cannot read kernel'):
        read_kernel(tmp_path / 'odd.npy')


def test_archive_is_rejected(tmp_path: Path):
    with open(tmp_path / 'odd.npy', 'wb') as file:
        np.savez(file, kernel=box(3, 3))
    with pytest.raises(InputError, match='cannot read kernel'):
        read_kernel(tmp_path / 'odd.npy')
    savemat(tmp_path / 'sparse.mat', {'Kernel': csc_matrix(box(3, 3))})
    with pytest.raises(InputError, match=r"sparse\.mat': got another value, expected a real matrix"):
        read_kernel(tmp_path / 'sparse.mat')
    savemat(tmp_path / 'damaged.mat', {'Kernel': box(9, 9)}, do_compression=True)
    content = (tmp_path / 'damaged.mat').read_bytes()
    (tmp_path / 'damaged.mat').write_bytes(content[:150] + bytes(20) + content[170:])
    with pytest.raises(InputError, match='cannot read kernel'):
        read_kernel(tmp_path / 'damaged.mat')


@pytest.mark.parametrize('dtype', ['float64', 'float32', 'int8', 'uint16', 'int64'])
@pytest.mark.parametrize('compressed', [False, True])
def test_arrays_of_mat_files_equal_those_of_scipy(tmp_path: Path, dtype: str, compressed: bool):
    path, values = tmp_path / 'arrays.mat', np.random.default_rng(0).normal(scale=50, size=(5, 7))
    arrays = {'Kernel': values.astype(dtype), 'k': values[:1].astype(dtype), 'a_long_name_of_an_array': values}
    savemat(path, arrays | {'text': 'no numbers', 'complex': values + 1j}, do_compression=compressed)
    decoded, expected = decode_arrays(path.read_bytes()), loadmat(path)
    assert decoded.keys() == {*arrays, 'text', 'complex'} and decoded['text'] is decoded['complex'] is None
    for name in arrays:
        np.testing.assert_array_equal(decoded[name], expected[name])
        np.testing.assert_array_equal(decoded[name], arrays[name])


MAT_TEXT = b'MATLAB 5.0 MAT-file'.ljust(124)


def element(kind: int, content: bytes) -> bytes:
    return struct.pack('>II', kind, len(content)) + content + bytes(-len(content) % 8)


def big_endian_mat(rows: int = 2) -> bytes:
    """File with a string variable, which has no shape, and a kernel."""
    array = element(6, struct.pack('>II', 6, 0)) + element(5, struct.pack('>ii', rows, 3)) + element(1, b'Kernel')
    array += element(7, np.arange(6, dtype='>f4').tobytes())
    text = element(6, struct.pack('>II', 17, 0)) + element(1, b'label') + element(1, b'MCOS') + element(1, b'string')
    return MAT_TEXT + b'\1\0MI' + element(14, text) + element(14, array)


def test_big_endian_mat_file_with_a_string():
    decoded = decode_arrays(big_endian_mat())
    assert decoded['label'] is None
    np.testing.assert_array_equal(decoded['Kernel'], [[0, 2, 4], [1, 3, 5]])


def test_other_mat_files_are_refused():
    with pytest.raises(ValueError, match="save it with '-v7'"):
        decode_arrays(MAT_TEXT + b'\0\2IM' + b'HDF5, as with -v7.3')
    with pytest.raises(ValueError, match='sides'):
        decode_arrays(big_endian_mat(rows=-1))
    nested = b''
    for _ in range(1500):
        nested = struct.pack('<II', 15, len(packed := zlib.compress(nested))) + packed
    assert decode_arrays(MAT_TEXT + b'\0\1IM' + nested) == {}


def test_mat_files_of_scipy_are_read_or_refused():
    """Files of many MATLAB versions that SciPy's tests use; only those of level 4 and HDF5 are refused."""
    paths = sorted(Path(scipy.io.matlab.__file__).parent.glob('tests/data/test*.mat'))
    for path in paths:
        try:
            decoded = decode_arrays(path.read_bytes())
        except ValueError as error:
            assert "'-v7'" in str(error), path
            continue
        expected = loadmat(path)
        for name, array in decoded.items():
            if array is not None:
                np.testing.assert_array_equal(array, expected[name])


@pytest.mark.parametrize('name', ['odd.npy', 'odd.mat', 'compressed.mat'])
def test_any_damaged_byte_is_survived(tmp_path: Path, name: str):
    """With SciPy's reader, some of these files end the process."""
    write_kernel(tmp_path, 'odd', box(9, 9))
    savemat(tmp_path / 'compressed.mat', {'Kernel': np.random.default_rng(0).random((9, 9))}, do_compression=True)
    path = tmp_path / name
    content, rng = path.read_bytes(), np.random.default_rng(1)
    for position in range(len(content)):
        damaged = bytearray(content)
        damaged[position] ^= int(rng.integers(1, 256))
        path.write_bytes(damaged)
        with suppress(InputError):
            assert read_kernel(path).size <= 81
        path.write_bytes(content[:position])
        with pytest.raises(InputError):
            read_kernel(path)


def test_claimed_size_is_not_allocated(tmp_path: Path):
    np.save(tmp_path / 'odd.npy', box(9, 9))
    content = (tmp_path / 'odd.npy').read_bytes().replace(b'(9, 9), }        ', b'(60000, 60000), }')
    (tmp_path / 'odd.npy').write_bytes(content)
    with pytest.raises(InputError, match=r'got 776 bytes, expected 28800000128'):
        read_kernel(tmp_path / 'odd.npy')
    bomb = zlib.compress(bytes(1 << 27))
    header = b'MATLAB 5.0 MAT-file'.ljust(124) + b'\0\1IM'
    (tmp_path / 'odd.mat').write_bytes(header + struct.pack('<II', 15, len(bomb)) + bomb)
    with pytest.raises(InputError, match='more than 67108864 bytes'):
        read_kernel(tmp_path / 'odd.mat')


def test_kernels_are_normalised(tmp_path: Path):
    write_kernel(tmp_path, 'a', 1.01 * box(3, 3))
    assert read_kernel_set(tmp_path, 8).sum() == pytest.approx(1)


def test_unknown_array_in_a_mat_file_is_reported(tmp_path: Path):
    savemat(tmp_path / 'odd.mat', {'k': box(3, 3)})
    with pytest.raises(InputError, match=r"odd\.mat': got k, expected an array 'Kernel'"):
        read_kernel_set(tmp_path, 64)


def test_folder_without_kernels_is_reported(tmp_path: Path):
    with pytest.raises(InputNotFoundError, match='does not exist'):
        read_kernel_set(tmp_path / 'none', 64)
    write_kernel(tmp_path / 'x4', 'a', box(3, 3))
    with pytest.raises(InputError, match=r'contains no kernel: .* Use one of its subfolders x4'):
        read_kernel_set(tmp_path, 64)
