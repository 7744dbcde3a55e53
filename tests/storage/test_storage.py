"""Folders, lists and LMDBs: the same images from each, and what is wrong with one named."""

from __future__ import annotations

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
from usrdu_basicsr.storage.formats import IMAGE, LOG_SCALE
from usrdu_basicsr.storage.generated_set import write_description, write_log_scale
from usrdu_basicsr.storage.lmdb_writer import LmdbWriter, Value
from usrdu_basicsr.storage.meta_info import Entry, key_of, read_meta_info
from usrdu_basicsr.storage.open_source import open_source
from usrdu_basicsr.utils.errors import InputError, InputNotFoundError
from usrdu_basicsr.utils.images import to_float

AWKWARD = ('Föto 1', 'two.points', '50%', '写真')


@pytest.fixture
def sets(tmp_path: Path) -> Path:
    """HR photos with awkward names and a generated set of them, in folders and in LMDBs."""
    for name, path in zip(AWKWARD, write_sample_images(tmp_path / 'hr', 4), strict=True):
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


def test_a_list_and_an_lmdb_give_what_the_folder_gives(sets: Path):
    """Value by value: pixels, log-scales, sizes, names."""
    for folder, kind in (('hr', IMAGE), ('set/lr', IMAGE), ('set/log_scale', LOG_SCALE)):
        plain, packed = open_source(sets / folder, kind), open_source(sets / f'{folder}.lmdb', kind)
        names = [path.name for path in sorted((sets / folder).iterdir())]
        (sets / 'list.txt').write_text('\n'.join(names), encoding='utf-8')
        listed = open_source(sets / folder, kind, sets / 'list.txt')
        listed_lmdb = open_source(sets / f'{folder}.lmdb', kind, sets / 'list.txt')
        assert plain.stems() == packed.stems() == listed.stems() == listed_lmdb.stems() == sorted(AWKWARD)
        for i, name in enumerate(names):
            truth = np.load(sets / folder / name) if kind is LOG_SCALE else cv2.imread(str(sets / folder / name))
            for source in (plain, packed, listed, listed_lmdb):
                np.testing.assert_array_equal(source.read(i), truth)
                assert source.size(i) == truth.shape[:2]


def test_datasets_give_the_same_from_folders_and_lmdbs(sets: Path):
    plain, packed = (build_dataset(options(sets, suffix)) for suffix in ('', '.lmdb'))
    assert len(plain) == len(packed) == 4
    for one, other in zip((plain[i] for i in range(4)), (packed[i] for i in range(4)), strict=True):
        for key in ('gt', 'lq', 'log_scale'):
            assert torch.equal(one[key], other[key])
        assert key_of(Path(one['lq_path']).stem) == Path(other['lq_path']).name


def test_names_match_across_folders_and_lmdbs(sets: Path):
    mixed = options(sets, '', dataroot_gt=str(sets / 'hr.lmdb'), dataroot_log_scale=str(sets / 'set/log_scale.lmdb'))
    dataset, plain = build_dataset(mixed), build_dataset(options(sets, ''))
    assert all(torch.equal(dataset[i]['log_scale'], plain[i]['log_scale']) for i in range(4))


def test_basicsr_reads_our_lmdbs(sets: Path):
    opt = options(sets, '.lmdb', type='PairedImageDataset', io_backend={'type': 'lmdb'})
    theirs, ours = build_dataset(opt), build_dataset(options(sets, ''))
    assert len(theirs) == 4
    expected = {key_of(Path(ours[i]['lq_path']).stem): ours[i] for i in range(4)}
    for item in (theirs[i] for i in range(4)):
        for kind in ('gt', 'lq'):
            assert torch.equal(item[kind], expected[item['lq_path']][kind])


def test_basicsr_may_open_what_ours_reads_in_its_workers(sets: Path):
    opt = options(sets, '.lmdb', phase='train', gt_size=64, batch_size_per_gpu=2, num_worker_per_gpu=1)
    loader = build_dataloader(build_dataset(opt), opt, num_gpu=0, seed=0)
    theirs = build_dataset(options(sets, '.lmdb', type='PairedImageDataset', io_backend={'type': 'lmdb'}))
    assert theirs[0]['gt'].shape == (3, 96, 112)
    assert len(list(loader)) == 2
    build_dataset(opt)  # looks it over while BasicSR has it open


def test_we_read_basicsrs_lmdbs(tmp_path: Path):
    names = [path.name for path in write_sample_images(tmp_path / 'hr', 3)]
    stems = [Path(name).stem for name in names]
    make_lmdb_from_imgs(str(tmp_path / 'hr'), str(tmp_path / 'theirs.lmdb'), names, stems)
    source = open_source(tmp_path / 'theirs.lmdb', IMAGE)
    assert source.stems() == stems
    for i, name in enumerate(names):
        np.testing.assert_array_equal(source.read(i), cv2.imread(str(tmp_path / 'hr' / name)))


@pytest.mark.parametrize(('method', 'workers'), [('fork', 2), ('spawn', 1)])
def test_workers_open_an_lmdb_for_themselves(sets: Path, method: str, workers: int):
    """Also where the main process has read it before, and two datasets share it."""
    dataset = build_dataset(options(sets, '.lmdb'))
    twin = build_dataset(options(sets, '.lmdb', dataroot_gt=str(sets / 'set' / '..' / 'hr.lmdb')))
    expected = [dataset[i]['gt'] for i in range(4)]
    assert torch.equal(twin[0]['gt'], expected[0])
    loader = DataLoader(
        dataset, None, num_workers=workers, multiprocessing_context=method, persistent_workers=method == 'spawn'
    )
    for _ in range(2):
        assert all(torch.equal(item['gt'], truth) for item, truth in zip(loader, expected, strict=True))
    assert torch.equal(dataset[0]['gt'], expected[0])  # here it is still open


def test_keys_are_names_in_ascii():
    assert [key_of(name) for name in ('0001_s001', 'a b', *AWKWARD[:3])] == [
        *('0001_s001', 'a b', 'F%C3%B6to 1', 'two%2Epoints', '50%25'),
    ]


@pytest.mark.parametrize(
    ('line', 'entry'),
    [
        ('0001_s001.png (480,320,3) 1', Entry('0001_s001.png', (480, 320))),
        ('a b (c) 7.png (4, 5, 3)', Entry('a b (c) 7.png', (4, 5))),
        ('gray.png (48,32,1)', Entry('gray.png', (48, 32))),
        ('sub/plain 2.png', Entry('sub/plain 2.png', None)),
    ],
)
def test_lines_of_meta_info(tmp_path: Path, line: str, entry: Entry):
    (tmp_path / 'list.txt').write_text(f'{line}\n\n')
    assert read_meta_info(tmp_path / 'list.txt') == [entry]


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        (b'\n', 'names nothing'),
        (b'a.png (1,1,3) 1\na.png (1,1,3) 1\n', "names 'a.png' twice"),
        (b'\xff\xfe', 'expected text in UTF-8'),
    ],
)
def test_bad_lists(tmp_path: Path, content: bytes, message: str):
    (tmp_path / 'list.txt').write_bytes(content)
    with pytest.raises(InputError, match=message):
        read_meta_info(tmp_path / 'list.txt')


def test_sixteen_bits_stay_sixteen_bits_in_an_lmdb(tmp_path: Path):
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


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (lambda value: value[:300] + bytes([value[300] ^ 255]) + value[301:], "cannot read image '.*hr.lmdb/50%25'"),
        (lambda value: value[: len(value) // 2], "cannot read image '.*hr.lmdb/50%25'"),
        (lambda value: b'', 'it is empty'),
    ],
)
def test_a_corrupt_value_is_named(sets: Path, change, message: str):
    change_value(sets / 'hr.lmdb', change)
    dataset = build_dataset(options(sets, '.lmdb'))
    with pytest.raises(InputError, match=message):
        dataset[0]
    opt = options(sets, '.lmdb', phase='train', gt_size=64, batch_size_per_gpu=2, num_worker_per_gpu=1)
    with pytest.raises(InputError, match=message):
        list(build_dataloader(build_dataset(opt), opt, num_gpu=0, seed=0))
    dataset = build_dataset(opt | {'on_bad_image': 'skip'})
    assert len(list(build_dataloader(dataset, opt, num_gpu=0, seed=0))) == 2 and dataset.usable.bad == 1


def cut(path: Path) -> None:
    os.truncate(path / 'data.mdb', (path / 'data.mdb').stat().st_size - 4096)


def misname(path: Path) -> None:
    text = (path / 'meta_info.txt').read_text(encoding='utf-8')
    (path / 'meta_info.txt').write_text(text.replace('50%25', 'other'), encoding='utf-8')


@pytest.mark.parametrize(
    ('change', 'error', 'message'),
    [
        (cut, InputError, r"hr.lmdb' is cut short: \d+ of \d+ bytes; create or copy it again"),
        (lambda path: (path / 'meta_info.txt').unlink(), InputNotFoundError, 'no meta info .*meta_info.txt'),
        (lambda path: (path / 'meta_info.txt').write_text('50%25.png'), InputError, "not say the size of '50%25.png'"),
        (lambda path: change_value(path, lambda _: None), InputError, 'holds 3 values, its meta_info.txt names 4'),
        (lambda path: (path / 'data.mdb').write_text('x' * 9000), InputError, "cannot open LMDB '.*hr.lmdb'"),
        (lambda path: (path / 'data.mdb').unlink(), InputError, "cannot open LMDB '.*hr.lmdb'"),
    ],
)
def test_damaged_lmdbs(sets: Path, change, error: type, message: str):
    change(sets / 'hr.lmdb')
    with pytest.raises(error, match=message):
        build_dataset(options(sets, '.lmdb'))


def test_a_key_that_is_not_there(sets: Path):
    misname(sets / 'hr.lmdb')
    with pytest.raises(InputError, match=r"LMDB '.*hr.lmdb' lacks 'other', which its meta_info.txt names"):
        open_source(sets / 'hr.lmdb', IMAGE).read(0)


def test_two_files_of_a_name_are_refused_in_a_pair(sets: Path):
    (sets / 'set' / 'lr' / '50%.jpg').write_bytes((sets / 'set' / 'lr' / '50%.png').read_bytes())
    with pytest.raises(InputError, match=r"50%.jpg' and '.*50%.png' share a name"):
        build_dataset(options(sets, ''))


def test_the_map_grows(tmp_path: Path):
    content = np.random.default_rng(0).bytes(100_000)
    (tmp_path / 'a.lmdb').mkdir()
    with LmdbWriter(tmp_path / 'a.lmdb', map_size=2**16) as writer:
        for i in range(20):
            writer.put(str(i), Value(content + bytes([i]), (1, 1, 3), '.png', 1))
    with lmdb.open(str(tmp_path / 'a.lmdb'), readonly=True, lock=False) as environment, environment.begin() as values:
        assert environment.stat()['entries'] == 20
        assert values.get(b'13') == content + bytes([13])
    assert [entry.name for entry in read_meta_info(tmp_path / 'a.lmdb' / 'meta_info.txt')][13] == '13.png'


def test_a_name_that_is_too_long(tmp_path: Path):
    (tmp_path / 'a.lmdb').mkdir()
    with pytest.raises(InputError, match='makes a key of 600 bytes'), LmdbWriter(tmp_path / 'a.lmdb') as writer:
        writer.put('x' * 600, Value(b'', (1, 1, 3), '.png', 1))
    assert not (tmp_path / 'a.lmdb' / 'meta_info.txt').exists()
