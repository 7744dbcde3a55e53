"""scripts/extract_subimages.py: aligned sub-images that cover the images, equal in folders and LMDBs."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from basicsr.data import build_dataset

from python_process import ROOT, check_script, run_script
from sample_images import downsample_images, sample_image, write_sample_images
from usrdu_basicsr.data_preparation.extract_subimages import extract_subimages, subimage_starts
from usrdu_basicsr.storage.generated_set import write_description, write_log_scale
from usrdu_basicsr.storage.open_source import open_source
from usrdu_basicsr.storage.source import IMAGE, LOG_SCALE
from usrdu_basicsr.utils.errors import InputError

SCRIPT = ROOT / 'scripts' / 'extract_subimages.py'


@pytest.fixture
def sets(tmp_path: Path) -> Path:
    """HR images, one of which is not a multiple of the scale, and a generated set with log-scales equal to LR."""
    write_sample_images(tmp_path / 'hr', 2)
    assert cv2.imwrite(str(tmp_path / 'hr' / 'odd name.png'), sample_image('coffee', 99, 70))
    downsample_images(tmp_path / 'hr', tmp_path / 'set' / 'lr')
    odd = cv2.resize(sample_image('coffee', 99, 70)[:96, :68], (17, 24), interpolation=cv2.INTER_AREA)
    assert cv2.imwrite(str(tmp_path / 'set' / 'lr' / 'odd name.png'), odd)
    for path in (tmp_path / 'set' / 'lr').iterdir():
        lr = cv2.imread(str(path))[..., ::-1]
        write_log_scale(tmp_path / 'set' / 'log_scale' / f'{path.stem}.npy', lr / 255)
    write_description(tmp_path / 'set', {'scale': 4, 'checkpoint_sha256': 'abc', 'count': 3})
    return tmp_path


@pytest.mark.parametrize(
    ('length', 'crop', 'step', 'starts'),
    [
        (96, 48, 48, [0, 48]),
        (96, 48, 24, [0, 24, 48]),
        (100, 48, 48, [0, 48, 52]),
        (48, 48, 24, [0]),
        (40, 48, 24, [0]),
        (200, 48, 100, [0, 100, 152]),
    ],
)
def test_subimages_reach_the_border(length: int, crop: int, step: int, starts: list[int]):
    assert subimage_starts(length, crop, step) == starts


def test_subimages_reassemble_to_the_image(tmp_path: Path):
    write_sample_images(tmp_path / 'hr', 1, 100, 112)
    assert extract_subimages(tmp_path / 'hr', tmp_path / 'sub', 48, 32) == 9
    image = cv2.imread(str(tmp_path / 'hr' / 'astronaut.png'))
    reassembled, number = np.zeros_like(image), 0
    for top in (0, 32, 52):
        for left in (0, 32, 64):
            number += 1
            subimage = cv2.imread(str(tmp_path / 'sub' / f'astronaut_s{number:03d}.png'))
            reassembled[top : top + 48, left : left + 48] = subimage
            np.testing.assert_array_equal(subimage, image[top : top + 48, left : left + 48])
    np.testing.assert_array_equal(reassembled, image)


def test_subimages_of_a_generated_set_are_aligned(sets: Path):
    """Each LR sub-image equals its downsampled HR sub-image: cropping and area downsampling commute."""
    count = extract_subimages(sets / 'hr', sets / 'sub', 48, 40, sets / 'set')
    hr, lr = (open_source(sets / 'sub' / name, IMAGE) for name in ('hr', 'lr'))
    log_scale = open_source(sets / 'sub' / 'log_scale', LOG_SCALE)
    assert len(hr) == count and hr.stems() == lr.stems() == log_scale.stems()
    assert 'odd name_s004' in hr.stems()
    for i in range(count):
        subimage = hr.read(i)
        assert lr.size(i) == tuple(side // 4 for side in subimage.shape[:2])
        downsampled = cv2.resize(subimage, lr.size(i)[::-1], interpolation=cv2.INTER_AREA)
        np.testing.assert_allclose(lr.read(i).astype(int), downsampled.astype(int), atol=1)
        np.testing.assert_allclose(log_scale.read(i)[..., ::-1] * 255, lr.read(i), atol=0.2)
    description = json.loads((sets / 'sub' / 'generation.json').read_text())
    assert description == {'scale': 4, 'checkpoint_sha256': 'abc', 'count': count}
    record = json.loads((sets / 'sub' / '.subimages.json').read_text())
    assert record == {'crop': 48, 'step': 40, 'images': 3, 'subimages': count}


def options(root: Path, suffix: str) -> dict:
    return {
        'name': 'subimages',
        'type': 'UncertaintyPairedDataset',
        'dataroot_gt': str(root / f'hr{suffix}'),
        'dataroot_lq': str(root / f'lr{suffix}'),
        'dataroot_log_scale': str(root / f'log_scale{suffix}'),
        'scale': 4,
        'gt_size': 48,
        'use_hflip': True,
        'use_rot': True,
        'phase': 'val',
    }


def test_folders_and_lmdbs_contain_the_same_subimages(sets: Path):
    extract_subimages(sets / 'hr', sets / 'plain', 48, 24, sets / 'set')
    extract_subimages(sets / 'hr', sets / 'packed', 48, 24, sets / 'set', as_lmdb=True)
    plain, packed = (build_dataset(options(sets / name, ext)) for name, ext in (('plain', ''), ('packed', '.lmdb')))
    assert len(plain) == len(packed) > 20
    by_name = {Path(packed[i]['gt_path']).name: packed[i] for i in range(len(packed))}
    for item in (plain[i] for i in range(len(plain))):
        other = by_name[Path(item['gt_path']).stem]
        assert all(torch.equal(item[key], other[key]) for key in ('gt', 'lq', 'log_scale'))
    build_dataset(options(sets / 'packed', '.lmdb') | {'phase': 'train'})[0]


def test_extract_subimages_script(sets: Path):
    settings = ('--crop', '48', '--step', '48', '--workers', '2')
    output = check_script(SCRIPT, '-i', 'hr', '--generated', 'set', '-o', 'sub', '--lmdb', *settings, cwd=sets)
    assert output == '16 sub-images in sub\n'
    assert sorted(path.name for path in (sets / 'sub').iterdir()) == [
        *('.subimages.json', 'generation.json', 'hr.lmdb', 'log_scale.lmdb', 'lr.lmdb'),
    ]
    assert check_script(SCRIPT, '-i', 'hr', '-o', 'hr_sub', '--lmdb', *settings, cwd=sets) == (
        '18 sub-images in hr_sub.lmdb\n'
    )
    assert len(open_source(sets / 'hr_sub.lmdb', IMAGE)) == 18  # without a generated set an odd side is kept
    for arguments, message in (
        (('-i', 'hr', '-o', 'hr_sub.lmdb'), "error: output 'hr_sub.lmdb' already exists"),
        (('-i', 'hr', '-o', 't', '--generated', 'hr'), "error: 'hr' contains no generation.json"),
        (
            ('-i', 'hr', '-o', 't', '--generated', 'set', '--crop', '50'),
            'error: crop: got 50, expected a multiple of 4',
        ),
        (
            ('-i', 'hr', '-o', 't', '--generated', 'set', '--step', '50'),
            'error: step: got 50, expected a multiple of 4',
        ),
        (
            ('-i', 'hr', '-o', 'set', '--overwrite'),
            "error: output 'set' contains no .subimages.json, so this script did not write it",
        ),
        (('-i', 'hr', '-o', '.', '--overwrite'), "error: output '.' would replace the input 'hr'"),
        (('-i', 'sub/hr.lmdb', '-o', 't'), "error: 'sub/hr.lmdb' is an LMDB, expected a folder of images"),
    ):
        assert message in run_script(SCRIPT, *arguments, cwd=sets).stderr
    assert not (sets / 't').exists()
    check_script(SCRIPT, '-i', 'hr', '-o', 'hr_sub.lmdb', '--overwrite', '--crop', '96', cwd=sets)
    assert len(open_source(sets / 'hr_sub.lmdb', IMAGE)) == 6


def test_set_of_other_images_is_rejected(sets: Path):
    write_sample_images(sets / 'hr', 1, 48, 48)
    with pytest.raises(InputError, match=r"lr/astronaut.png': got \(24, 28\) pixels .*, expected 1/4 of \(48, 48\)"):
        extract_subimages(sets / 'hr', sets / 'sub', 48, 48, sets / 'set')
    (sets / 'set' / 'lr' / 'chelsea.png').unlink()
    with pytest.raises(InputError, match=r"chelsea.png' has no partner of the same name in '.*lr'"):
        extract_subimages(sets / 'hr', sets / 'sub', 48, 48, sets / 'set')
    assert sorted(path.name for path in sets.iterdir()) == ['hr', 'set']


def test_image_corrupted_while_cropping_leaves_no_output(sets: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr('usrdu_basicsr.data_preparation.extract_subimages.check_all', lambda *_: None)
    (sets / 'hr' / 'odd name.png').write_bytes(b'')
    for as_lmdb in (False, True):
        with pytest.raises(InputError, match=r"odd name.png': the file is empty"):
            extract_subimages(sets / 'hr', sets / 'sub', 48, 48, sets / 'set', as_lmdb=as_lmdb)
    assert sorted(path.name for path in sets.iterdir()) == ['hr', 'set']
