"""scripts/check_dataset.py: one report of all problems of a dataset."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml

from python_process import ROOT, check_script, run_script
from sample_images import downsample_images, sample_image, write_sample_images
from usrdu_basicsr.data_preparation.check_dataset import check_dataset
from usrdu_basicsr.data_preparation.create_lmdb import create_lmdbs
from usrdu_basicsr.storage.generated_set import write_description, write_log_scale

SCRIPT = ROOT / 'scripts' / 'check_dataset.py'


@pytest.fixture
def sets(tmp_path: Path) -> Path:
    write_sample_images(tmp_path / 'hr', 3)
    write_sample_images(tmp_path / 'camera', 2, 30, 40)
    downsample_images(tmp_path / 'hr', tmp_path / 'set' / 'lr')
    for path in (tmp_path / 'set' / 'lr').iterdir():
        write_log_scale(tmp_path / 'set' / 'log_scale' / f'{path.stem}.npy', np.zeros((24, 28, 3)))
    write_description(tmp_path / 'set', {'scale': 4})
    return tmp_path


def dataset(root: Path, kind: str = 'UncertaintyPairedDataset', **changes: object) -> dict:
    roots = {'dataroot_gt': root / 'hr', 'dataroot_lq': root / 'set/lr', 'dataroot_log_scale': root / 'set/log_scale'}
    return {'type': kind, 'phase': 'train', 'scale': 4, 'gt_size': 64, **roots, **changes}


def test_valid_set_has_no_problems(sets: Path):
    assert cv2.imwrite(str(sets / 'camera' / 'gray.jpg'), sample_image()[..., 0])
    (sets / 'camera' / 'notes.txt').touch()
    report = check_dataset(dataset(sets))
    assert report.problems == report.notes == []
    assert report.summary == [
        f'dataroot_gt {sets}/hr: 3 images; 96x112; RGB',
        f'dataroot_lq {sets}/set/lr: 3 images; 24x28; RGB',
        f'dataroot_log_scale {sets}/set/log_scale: 3 log-scale maps; 24x28',
    ]
    camera = dataset(sets, 'UnpairedImageDataset', dataroot_lq=sets / 'camera', dataroot_log_scale=None)
    report = check_dataset(camera, workers=2)
    assert report.problems == []
    assert report.summary[1] == (
        f'dataroot_lq {sets}/camera: 3 images; 30x40 to 96x112, median 30x40 (height x width); 2 RGB, 1 gray;'
        ' 1 other file ignored'
    )


def test_all_problems_are_reported_at_once(sets: Path):
    content = (sets / 'hr' / 'astronaut.png').read_bytes()
    (sets / 'hr' / 'astronaut.png').write_bytes(content[: len(content) // 2])
    write_sample_images(sets / 'set' / 'lr', 2, 12, 12)  # too small; the size of chelsea also contradicts its HR image
    (sets / 'set' / 'log_scale' / 'coffee.npy').write_bytes(b'')
    (sets / 'set' / 'lr' / 'extra.png').write_bytes((sets / 'hr' / 'coffee.png').read_bytes())
    (sets / 'set' / 'lr' / 'coffee.jpg').write_bytes((sets / 'set' / 'lr' / 'coffee.png').read_bytes())
    write_description(sets / 'set', {'scale': 2})
    report = check_dataset(dataset(sets))
    assert report.notes == [
        f"'{sets}/set/lr/coffee.jpg' is a PNG file despite its extension",
        f"1 files of '{sets}/set/lr' have no partner in '{sets}/hr', such as 'extra'",
    ]
    expected = [
        f"cannot read image '{sets}/hr/astronaut.png': the file is corrupt",
        f"'{sets}/set/lr/astronaut.png': got 12x12 pixels, expected at least the patch size 16x16",
        f"'{sets}/set/lr/chelsea.png': got 12x12 pixels, expected at least the patch size 16x16",
        f"cannot read log-scale map '{sets}/set/log_scale/coffee.npy' (expected an array of numbers",
        f"'{sets}/set/lr/coffee.jpg' and '{sets}/set/lr/coffee.png' share a name",
        f"'{sets}/set/lr/chelsea.png': got (12, 12) pixels (height, width), expected 1/4 of (96, 112), the size of",
        f"generated set '{sets}/set': got scale 2, expected 4",
    ]
    assert len(report.problems) == len(expected)
    for part in expected:
        assert any(problem.startswith(part) for problem in report.problems), part


def test_lmdb_values_are_decoded(sets: Path):
    create_lmdbs([sets / 'hr', sets / 'set'])
    roots = {'dataroot_gt': sets / 'hr.lmdb', 'dataroot_lq': sets / 'set/lr.lmdb'}
    assert check_dataset(dataset(sets, **roots)).problems == []
    meta = sets / 'hr.lmdb' / 'meta_info.txt'
    meta.write_text(meta.read_text().replace('coffee.png (96,112,3)', 'coffee.png (96,110,3)'))
    problem = f"'{sets}/hr.lmdb/coffee': got (96, 112) pixels (height, width), expected (96, 110) as in its meta info"
    assert problem in check_dataset(dataset(sets, **roots)).problems


def test_pairs_are_matched_as_in_basicsr(sets: Path):
    (sets / 'set' / 'lr' / 'coffee.png').rename(sets / 'set' / 'lr' / 'coffeex4.png')
    pairs = dataset(sets, 'PairedImageDataset', dataroot_log_scale=None)
    problems = check_dataset(pairs).problems
    assert problems == [
        f"'{sets}/hr/coffee.png' has no partner of the same name in '{sets}/set/lr'",
        f"1 files of '{sets}/set/lr' have no partner in '{sets}/hr', such as 'coffeex4.png'",
    ]
    (sets / 'list.txt').write_text('astronaut.png\n')
    assert check_dataset(pairs | {'meta_info_file': sets / 'list.txt'}).problems == []
    for name in ('astronaut', 'chelsea'):
        (sets / 'set' / 'lr' / f'{name}.png').rename(sets / 'set' / 'lr' / f'{name}x4.png')
    assert check_dataset(pairs | {'filename_tmpl': '{}x4'}).problems == []
    write_sample_images(sets / 'hr', 1, 97, 112)
    assert 'expected 1/4 of (97, 112)' in check_dataset(pairs | {'filename_tmpl': '{}x4'}).problems[0]
    assert check_dataset(pairs | {'filename_tmpl': '{}x4', 'phase': 'val'}).problems == []


@pytest.mark.slow
def test_check_dataset_script(sets: Path):
    output = check_script(SCRIPT, '--gt', 'hr', '--lq', 'camera', '--gt_size', '96', cwd=sets)
    assert output == (
        'folders: UnpairedImageDataset\n'
        '  dataroot_gt hr: 3 images; 96x112; RGB\n'
        '  dataroot_lq camera: 2 images; 30x40; RGB\n'
        '0 problems\n'
    )
    found = run_script(SCRIPT, '--gt', 'hr', '--lq', 'nowhere', '--gt_size', '100', cwd=sets)
    assert found.returncode == 1
    assert "  PROBLEM: dataroot_lq: folder 'nowhere' does not exist" in found.stdout and found.stdout.endswith(
        '4 problems\n'
    )
    train = dataset(Path(), 'UnpairedImageDataset', dataroot_lq=Path('camera'), dataroot_log_scale=None)
    train = {key: str(value) for key, value in train.items() if isinstance(value, str | Path)}
    train |= {'name': 'mine', 'gt_size': 64, 'batch_size_per_gpu': 1, 'num_worker_per_gpu': 0}
    opt = {'model_type': 'SRModel', 'scale': 4, 'datasets': {'train': train}}
    (sets / 'mine.yml').write_text(yaml.safe_dump(opt))
    output = check_script(SCRIPT, '-opt', 'mine.yml', cwd=sets)
    assert output.startswith('train: UnpairedImageDataset\n') and output.endswith('0 problems\n')
    assert 'pass either -opt FILE' in run_script(SCRIPT, cwd=sets).stderr
    assert "error: -opt: options file 'gone.yml'" in run_script(SCRIPT, '-opt', 'gone.yml', cwd=sets).stderr


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        ({'gt_size': '64'}, "gt_size: got '64', expected an integer"),
        ({'scale': '4'}, "scale: got '4', expected an integer"),
        ({'dataroot_gt': ['a', 'b']}, "dataroot_gt: got ['a', 'b'], expected a path"),
        ({'dataroot_lq': None}, 'dataroot_lq: got None, expected a path'),
        ({'type': 'UnpairedDataset'}, "type: got 'UnpairedDataset', expected one of HRImageDataset, PairedImageDat"),
    ],
)
def test_invalid_options_of_other_models_are_reported(sets: Path, change: dict, message: str):
    train = {'name': 'mine', 'type': 'UnpairedImageDataset', 'dataroot_gt': 'hr', 'dataroot_lq': 'camera'}
    train |= {'gt_size': 64, 'batch_size_per_gpu': 1, 'num_worker_per_gpu': 0, **change}
    scale = train.pop('scale', 4)
    opt = {'model_type': 'SRModel', 'scale': scale, 'datasets': {'train': train}}
    (sets / 'mine.yml').write_text(yaml.safe_dump(opt))
    found = run_script(SCRIPT, '-opt', 'mine.yml', cwd=sets)
    assert found.returncode == 1 and f'  PROBLEM: {message}' in found.stdout, found.stdout + found.stderr


def test_invalid_options_are_reported_with_their_lines(sets: Path):
    """The images of a section of `datasets` with a problem are not checked."""
    text = (ROOT / 'options' / 'demo' / 'train_dsn.yml').read_text()
    text = text.replace('use_rot: true', 'use_rto: true').replace('print_freq: 100', 'print_freq: 0')
    text = text.replace('datasets/demo/validation/HR', 'hr').replace('datasets/demo/validation/camera', 'set/lr')
    text = text.replace('datasets/demo/HR', 'hr').replace('datasets/demo/camera', 'camera')
    (sets / 'mine.yml').write_text(text)
    found = run_script(SCRIPT, '-opt', 'mine.yml', cwd=sets)
    lines = text.splitlines()
    key, freq = (next(i for i, line in enumerate(lines, 1) if name in line) for name in ('use_rto', 'print_freq'))
    assert found.returncode == 1
    assert found.stdout.splitlines()[:3] == [
        f"PROBLEM: mine.yml:{key}: unknown key datasets: train: use_rto: did you mean 'use_rot'?",
        f'PROBLEM: mine.yml:{freq}: logger: print_freq: got 0, expected an integer >= 1',
        'val: PairedImageDataset',
    ]
    assert found.stdout.endswith('2 problems\n')
    misspelled = run_script(SCRIPT, '-opt', 'none.yml', cwd=sets)
    assert misspelled.returncode == 1 and misspelled.stderr.startswith("error: -opt: options file 'none.yml' does not")


def test_lmdbs_ignore_the_template_and_extensions_must_match(sets: Path):
    create_lmdbs([sets / 'hr', sets / 'set'])
    roots = {'dataroot_gt': sets / 'hr.lmdb', 'dataroot_lq': sets / 'set/lr.lmdb', 'dataroot_log_scale': None}
    pairs = dataset(sets, 'PairedImageDataset', io_backend={'type': 'lmdb'}, filename_tmpl='{}x4', **roots)
    report = check_dataset(pairs)
    assert report.problems == [] and report.summary[0] == f'dataroot_gt {sets}/hr.lmdb: 3 images; 96x112; RGB'
    for path in (sets / 'set' / 'lr').iterdir():
        path.rename(path.with_suffix('.jpg'))
    problems = check_dataset(dataset(sets, 'PairedImageDataset', dataroot_log_scale=None)).problems
    assert len(problems) == 4 and problems[-1].endswith("such as 'astronaut.jpg'")


def test_missing_listed_files_are_reported(sets: Path):
    (sets / 'list.txt').write_text('gone.png\nastronaut.png\nlost.png\n')
    report = check_dataset(dataset(sets, 'HRImageDataset', meta_info_file=sets / 'list.txt', margin=0))
    assert [problem[: problem.index('.png') + 5] for problem in report.problems] == [
        f"cannot read '{sets}/hr/gone.png'",
        f"cannot read '{sets}/hr/lost.png'",
    ]


def test_files_that_basicsr_cannot_read_are_reported(sets: Path):
    pairs = dataset(sets, 'PairedImageDataset', dataroot_log_scale=None)
    (sets / 'hr' / 'notes.txt').touch()
    assert check_dataset(pairs).problems == [
        f"dataroot_gt: folder '{sets}/hr' contains 'notes.txt', which PairedImageDataset reads as an image. Move it"
    ]
    (sets / 'list.txt').write_text('my image.png\n')
    assert 'cannot read names with spaces' in check_dataset(pairs | {'meta_info_file': sets / 'list.txt'}).problems[0]
