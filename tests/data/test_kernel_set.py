"""Kernels on disk: what is read, padded and refused; and stage 1 on a set of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.io import loadmat, savemat
from scipy.sparse import csc_matrix

from usrdu_basicsr.data.kernel_set import list_kernels, read_kernel, read_kernel_set, write_kernel
from usrdu_basicsr.utils.errors import InputError, InputNotFoundError


def box(height: int, width: int) -> np.ndarray:
    return np.full((height, width), 1 / (height * width))


def test_both_formats_hold_the_kernel(tmp_path: Path):
    kernel = np.random.default_rng(0).dirichlet(np.ones(35)).reshape(5, 7)
    write_kernel(tmp_path / 'set', 'ä b', kernel)
    for extension in ('npy', 'mat'):
        np.testing.assert_array_equal(read_kernel(tmp_path / 'set' / f'ä b.{extension}'), kernel)
    np.testing.assert_array_equal(loadmat(tmp_path / 'set' / 'ä b.mat')['Kernel'], kernel)
    assert [path.name for path in list_kernels(tmp_path / 'set')] == ['ä b.npy']  # once, not twice


def test_kernels_of_any_size_meet_the_same_pixel(tmp_path: Path):
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
        (box(3, 3) * np.nan, 'not finite'),
        (np.full((2, 2), np.inf), 'not finite'),
        (box(3, 3) * 255, 'sums to 255, expected 1'),
        (np.zeros((3, 3)), 'sums to 0, expected 1'),
        (np.zeros((0, 3)), 'sums to 0, expected 1'),
        (box(65, 3), 'of 65x3 pixels is larger than the patch of 64'),
    ],
)
def test_malformed_kernels_are_refused_by_name(tmp_path: Path, kernel: np.ndarray, message: str):
    write_kernel(tmp_path, 'good', box(3, 3))
    np.save(tmp_path / 'odd.npy', kernel)
    with pytest.raises(InputError, match=rf"odd\.npy' .*{message}"):
        read_kernel_set(tmp_path, 64)


@pytest.mark.parametrize('name', ['odd.npy', 'odd.mat'])
@pytest.mark.parametrize('content', [b'', b'not a kernel', 'cut'])
def test_damaged_files_are_refused_by_name(tmp_path: Path, name: str, content: bytes | str):
    write_kernel(tmp_path, 'odd', box(9, 9))
    path = tmp_path / name
    path.write_bytes(path.read_bytes()[:300] if content == 'cut' else content)
    with pytest.raises(InputError, match=rf"cannot read kernel '.*{name}'"):
        read_kernel(path)


def test_files_with_code_are_refused(tmp_path: Path):
    np.save(tmp_path / 'odd.npy', np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(InputError, match='cannot read kernel'):
        read_kernel(tmp_path / 'odd.npy')


def test_archives_are_refused(tmp_path: Path):
    with open(tmp_path / 'odd.npy', 'wb') as file:
        np.savez(file, kernel=box(3, 3))
    with pytest.raises(InputError, match='is a NpzFile, expected a matrix'):
        read_kernel(tmp_path / 'odd.npy')
    savemat(tmp_path / 'sparse.mat', {'Kernel': csc_matrix(box(3, 3))})
    with pytest.raises(InputError, match=r"sparse\.mat' is a \w+, expected a matrix"):
        read_kernel(tmp_path / 'sparse.mat')
    savemat(tmp_path / 'damaged.mat', {'Kernel': box(9, 9)}, do_compression=True)
    content = (tmp_path / 'damaged.mat').read_bytes()
    (tmp_path / 'damaged.mat').write_bytes(content[:150] + bytes(20) + content[170:])
    with pytest.raises(InputError, match='cannot read kernel'):
        read_kernel(tmp_path / 'damaged.mat')


def test_brightness_is_kept(tmp_path: Path):
    write_kernel(tmp_path, 'a', 1.01 * box(3, 3))
    assert read_kernel_set(tmp_path, 8).sum() == pytest.approx(1)


def test_another_array_in_a_mat_file(tmp_path: Path):
    savemat(tmp_path / 'odd.mat', {'k': box(3, 3)})
    with pytest.raises(InputError, match=r"odd\.mat' holds k, expected an array 'Kernel'"):
        read_kernel_set(tmp_path, 64)


def test_folders_without_kernels(tmp_path: Path):
    with pytest.raises(InputNotFoundError, match='no folder'):
        read_kernel_set(tmp_path / 'none', 64)
    write_kernel(tmp_path / 'x4', 'a', box(3, 3))
    with pytest.raises(InputError, match=r'holds no kernel: .*it holds the folders x4: name one of them'):
        read_kernel_set(tmp_path, 64)
