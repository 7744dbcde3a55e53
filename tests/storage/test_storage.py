"""Folders, lists and LMDBs return the same images, and errors name the file."""

import os
from pathlib import Path

import cv2
import lmdb
import numpy as np
import pytest
import torch
from basicsr.data import build_dataloader, build_dataset
from basicsr.utils.lmdb_util import make_lmdb_from_imgs
from torch.utils.data import DataLoader

from sample_images import downsample_images, sample_image, write_sample_images
from usrdu_basicsr.data_preparation.create_lmdb import create_lmdbs
from usrdu_basicsr.storage.generated_set import write_description, write_log_scale
from usrdu_basicsr.storage.lmdb_writer import LmdbWriter, Value
from usrdu_basicsr.storage.meta_info import key_of, read_meta_info
from usrdu_basicsr.storage.open_source import open_source
from usrdu_basicsr.storage.source import IMAGE, LOG_SCALE
from usrdu_basicsr.utils.errors import InputError, InputNotFoundError
from usrdu_basicsr.utils.images import to_float

UNUSUAL_NAMES = ('Föto 1', 'two.points', '50%', '写真')


@pytest.fixture
def sets(tmp_path: Path) -> Path:
    """HR images with unusual names and their generated set, as folders and as LMDBs."""
    for name, path in zip(UNUSUAL_NAMES, write_sample_images(tmp_path / 'hr', 4), strict=True):
        path.rename(path.with_name(f'{name}.png'))
    downsample_images(tmp_path / 'hr', tmp_path / 'set' / 'lr')
    for path in (tmp_path / 'set' / 'lr').iterdir():
        write_log_scale(tmp_path / 'set' / 'log_scale' / f'{path.stem}.npy', np.random.randn(24, 28, 3))
    write_description(tmp_path / 'set', {'scale': 4})
    create_lmdbs([tmp_path / 'hr', tmp_path / 'set'], pair=True)
    return tmp_path


def options(root: Path, suffix: str, **changes: object) -> dict:
    return {
        'name': 'set',
        'type': 'UncertaintyPairedDataset',
        'dataroot_gt': str(root / f'hr{suffix}'),
        'dataroot_lq': str(root / 'set' / f'lr{suffix}'),
        'dataroot_log_scale': str(root / 'set' / f'log_scale{suffix}'),
        'scale': 4,
        'phase': 'val',
    } | changes


def test_list_and_lmdb_return_the_same_values_as_the_folder(sets: Path):
    for folder, file_format in (('hr', IMAGE), ('set/lr', IMAGE), ('set/log_scale', LOG_SCALE)):
        plain, packed = open_source(sets / folder, file_format), open_source(sets / f'{folder}.lmdb', file_format)
        names = [path.name for path in sorted((sets / folder).iterdir())]
        (sets / 'list.txt').write_text('\n'.join(names), encoding='utf-8')
        listed = open_source(sets / folder, file_format, sets / 'list.txt')
        listed_lmdb = open_source(sets / f'{folder}.lmdb', file_format, sets / 'list.txt')
        assert plain.stems() == packed.stems() == listed.stems() == listed_lmdb.stems() == sorted(UNUSUAL_NAMES)
        for i, name in enumerate(names):
            path = sets / folder / name
            expected = np.load(path) if file_format is LOG_SCALE else cv2.imread(str(path))
            for source in (plain, packed, listed, listed_lmdb):
                np.testing.assert_array_equal(source.read(i), expected)
                assert source.size(i) == expected.shape[:2]


def test_datasets_return_the_same_from_folders_and_lmdbs(sets: Path):
    plain, packed = (build_dataset(options(sets, suffix)) for suffix in ('', '.lmdb'))
    assert len(plain) == len(packed) == 4
    for i in range(4):
        item, packed_item = plain[i], packed[i]
        for key in ('gt', 'lq', 'log_scale'):
            assert torch.equal(item[key], packed_item[key])
        assert key_of(Path(item['lq_path']).stem) == Path(packed_item['lq_path']).name


def test_names_match_across_folders_and_lmdbs(sets: Path):
    mixed = options(sets, '', dataroot_gt=str(sets / 'hr.lmdb'), dataroot_log_scale=str(sets / 'set/log_scale.lmdb'))
    dataset, plain = build_dataset(mixed), build_dataset(options(sets, ''))
    assert all(torch.equal(dataset[i]['log_scale'], plain[i]['log_scale']) for i in range(4))


def test_basicsr_reads_created_lmdbs(sets: Path):
    opt = options(sets, '.lmdb', type='PairedImageDataset', io_backend={'type': 'lmdb'})
    paired, generated = build_dataset(opt), build_dataset(options(sets, ''))
    assert len(paired) == 4
    expected = {key_of(Path(generated[i]['lq_path']).stem): generated[i] for i in range(4)}
    for item in (paired[i] for i in range(4)):
        for key in ('gt', 'lq'):
            assert torch.equal(item[key], expected[item['lq_path']][key])


def test_basicsr_opens_an_lmdb_that_workers_read(sets: Path):
    opt = options(sets, '.lmdb', phase='train', gt_size=64, batch_size_per_gpu=2, num_worker_per_gpu=1)
    loader = build_dataloader(build_dataset(opt), opt, num_gpu=0, seed=0)
    paired = build_dataset(options(sets, '.lmdb', type='PairedImageDataset', io_backend={'type': 'lmdb'}))
    assert paired[0]['gt'].shape == (3, 96, 112)
    assert len(list(loader)) == 2
    build_dataset(opt)  # checks the LMDB while BasicSR has it open


def test_lmdbs_of_basicsr_are_read(tmp_path: Path):
    names = [path.name for path in write_sample_images(tmp_path / 'hr', 3)]
    stems = [Path(name).stem for name in names]
    make_lmdb_from_imgs(str(tmp_path / 'hr'), str(tmp_path / 'basicsr.lmdb'), names, stems)
    source = open_source(tmp_path / 'basicsr.lmdb', IMAGE)
    assert source.stems() == stems
    for i, name in enumerate(names):
        np.testing.assert_array_equal(source.read(i), cv2.imread(str(tmp_path / 'hr' / name)))


@pytest.mark.parametrize(('method', 'workers'), [('fork', 2), pytest.param('spawn', 1, marks=pytest.mark.slow)])
def test_each_worker_opens_the_lmdb(sets: Path, method: str, workers: int):
    """The main process has already read the LMDB, and two datasets share it."""
    dataset = build_dataset(options(sets, '.lmdb'))
    second = build_dataset(options(sets, '.lmdb', dataroot_gt=str(sets / 'set' / '..' / 'hr.lmdb')))
    expected = [dataset[i]['gt'] for i in range(4)]
    assert torch.equal(second[0]['gt'], expected[0])
    loader = DataLoader(
        dataset, None, num_workers=workers, multiprocessing_context=method, persistent_workers=method == 'spawn'
    )
    for _ in range(2):
        assert all(torch.equal(item['gt'], image) for item, image in zip(loader, expected, strict=True))
    assert torch.equal(dataset[0]['gt'], expected[0])  # still open in the main process


def test_keys_are_ascii_names():
    assert [key_of(name) for name in ('0001_s001', 'a b', ' a', *UNUSUAL_NAMES[:3])] == [
        *('0001_s001', 'a b', '%20a', 'F%C3%B6to 1', 'two%2Epoints', '50%25'),
    ]


@pytest.mark.parametrize(
    ('line', 'entries'),
    [
        ('0001_s001.png (480,320,3) 1', {'0001_s001.png': (480, 320)}),
        ('a b (c) 7.png (4, 5, 3)', {'a b (c) 7.png': (4, 5)}),
        ('gray.png (48,32,1)', {'gray.png': (48, 32)}),
        ('sub/plain 2.png', {'sub/plain 2.png': None}),
    ],
)
def test_meta_info_lines_are_parsed(tmp_path: Path, line: str, entries: dict):
    (tmp_path / 'list.txt').write_text(f'{line}\n\n')
    assert read_meta_info(tmp_path / 'list.txt') == entries


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        (b'\n', 'is empty'),
        (b'a.png (1,1,3) 1\na.png (1,1,3) 1\n', "lists 'a.png' twice"),
        (b'\xff\xfe', 'expected UTF-8 text'),
    ],
)
def test_invalid_lists_are_rejected(tmp_path: Path, content: bytes, message: str):
    (tmp_path / 'list.txt').write_bytes(content)
    with pytest.raises(InputError, match=message):
        read_meta_info(tmp_path / 'list.txt')


def test_lmdbs_keep_16_bits(tmp_path: Path):
    (tmp_path / 'deep').mkdir()
    values = (sample_image().astype(np.uint16) << 8) + 77
    assert cv2.imwrite(str(tmp_path / 'deep' / 'a.png'), values)
    create_lmdbs([tmp_path / 'deep'])
    stored = open_source(tmp_path / 'deep.lmdb', IMAGE).read(0)
    np.testing.assert_array_equal(stored, values)
    np.testing.assert_allclose(to_float(stored), values / 65535, rtol=1e-6)


def change_value(path: Path, change) -> None:
    with lmdb.open(str(path), lock=False) as environment, environment.begin(write=True) as transaction:
        value = change(bytes(transaction.get(b'50%25')))
        if value is None:
            transaction.delete(b'50%25')
        else:
            transaction.put(b'50%25', value)


@pytest.mark.slow
@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (lambda value: value[:300] + bytes([value[300] ^ 255]) + value[301:], "cannot read image '.*hr.lmdb/50%25'"),
        (lambda value: value[: len(value) // 2], "cannot read image '.*hr.lmdb/50%25'"),
        (lambda value: b'', 'the file is empty'),
    ],
)
def test_corrupt_value_is_reported(sets: Path, change, message: str):
    change_value(sets / 'hr.lmdb', change)
    dataset = build_dataset(options(sets, '.lmdb'))
    with pytest.raises(InputError, match=message):
        dataset[0]
    opt = options(sets, '.lmdb', phase='train', gt_size=64, batch_size_per_gpu=2, num_worker_per_gpu=1)
    with pytest.raises(InputError, match=message):
        list(build_dataloader(build_dataset(opt), opt, num_gpu=0, seed=0))
    dataset = build_dataset(opt | {'on_bad_image': 'skip'})
    assert len(list(build_dataloader(dataset, opt, num_gpu=0, seed=0))) == 2 and dataset.policy.bad == 1


def truncate(path: Path) -> None:
    os.truncate(path / 'data.mdb', (path / 'data.mdb').stat().st_size - 4096)


def rename_key(path: Path) -> None:
    text = (path / 'meta_info.txt').read_text(encoding='utf-8')
    (path / 'meta_info.txt').write_text(text.replace('50%25', 'other'), encoding='utf-8')


@pytest.mark.parametrize(
    ('change', 'error', 'message'),
    [
        (truncate, InputError, r"hr.lmdb' is truncated: got \d+ bytes, expected \d+. Copy it again"),
        (
            lambda path: (path / 'meta_info.txt').unlink(),
            InputNotFoundError,
            r'meta_info.txt. does not exist',
        ),
        (lambda path: (path / 'meta_info.txt').write_text('50%25.png'), InputError, "'50%25.png' has no size"),
        (lambda path: change_value(path, lambda _: None), InputError, 'got 3 values, expected 4 as in meta_info.txt'),
        (lambda path: (path / 'data.mdb').write_text('x' * 9000), InputError, "cannot open LMDB '.*hr.lmdb'"),
        (lambda path: (path / 'data.mdb').unlink(), InputError, "cannot open LMDB '.*hr.lmdb'"),
    ],
)
def test_damaged_lmdbs_are_rejected(sets: Path, change, error: type, message: str):
    change(sets / 'hr.lmdb')
    with pytest.raises(error, match=message):
        build_dataset(options(sets, '.lmdb'))


def test_missing_key_is_reported(sets: Path):
    rename_key(sets / 'hr.lmdb')
    with pytest.raises(InputError, match=r"LMDB '.*hr.lmdb' lacks 'other', which its meta_info.txt lists"):
        open_source(sets / 'hr.lmdb', IMAGE).read(0)


def test_pairs_with_an_ambiguous_name_are_rejected(sets: Path):
    (sets / 'set' / 'lr' / '50%.jpg').write_bytes((sets / 'set' / 'lr' / '50%.png').read_bytes())
    with pytest.raises(InputError, match=r"50%.jpg' and '.*50%.png' share a name"):
        build_dataset(options(sets, ''))


def test_map_size_grows(tmp_path: Path):
    content = np.random.default_rng(0).bytes(100_000)
    (tmp_path / 'a.lmdb').mkdir()
    with LmdbWriter(tmp_path / 'a.lmdb', map_size=2**16) as writer:
        for i in range(20):
            writer.put(str(i), Value(content + bytes([i]), (1, 1, 3), '.png', 1))
    with lmdb.open(str(tmp_path / 'a.lmdb'), readonly=True, lock=False) as environment, environment.begin() as values:
        assert environment.stat()['entries'] == 20
        assert values.get(b'13') == content + bytes([13])
    assert list(read_meta_info(tmp_path / 'a.lmdb' / 'meta_info.txt'))[13] == '13.png'


def test_too_long_name_is_rejected(tmp_path: Path):
    (tmp_path / 'a.lmdb').mkdir()
    with (
        pytest.raises(InputError, match=r'got 600 bytes .* expected at most 511'),
        LmdbWriter(tmp_path / 'a.lmdb') as writer,
    ):
        writer.put('x' * 600, Value(b'', (1, 1, 3), '.png', 1))
    assert not (tmp_path / 'a.lmdb' / 'meta_info.txt').exists()
