"""Mistakes in the folders of `usrdu fit`, each with its message, and the images that are selected and written."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from sample_images import sample_image
from usrdu_basicsr.fit.dataset import sub_image_count, sub_images, unique_stems, write_dataset
from usrdu_basicsr.fit.request import Request, duration, parse_time
from usrdu_basicsr.fit.selection import Selection, select_images
from usrdu_basicsr.utils.errors import InputError
from usrdu_basicsr.utils.images import list_images, read_image

HR_SIDE, LR_SIDE = 160, 48
NOISE = np.random.default_rng(0).normal(0, 6, (400, 400, 3))


def write(path: Path, index: int, height: int, width: int, noise: float = 0) -> None:
    """Write an image that differs for each index."""
    path.parent.mkdir(parents=True, exist_ok=True)
    scene = np.roll(sample_image(height=height, width=width), 7 * index, axis=1).astype(float)
    cv2.imwrite(str(path), np.uint8((scene + noise * NOISE[:height, :width]).clip(0, 255)))


@pytest.fixture
def request_(tmp_path: Path) -> Request:
    """Request with 20 HR images and 20 camera images."""
    for index in range(20):
        write(tmp_path / 'hr' / f'{index:02d}.png', index, HR_SIDE, HR_SIDE)
        write(tmp_path / 'lr' / f'{index:02d}.png', index + 3, LR_SIDE, LR_SIDE, noise=1)
    return Request(tmp_path / 'hr', tmp_path / 'lr', tmp_path / 'run')


def remove_all(request: Request) -> Request:
    for path in request.lr.iterdir():
        path.unlink()
    return request


def keep_three(request: Request) -> Request:
    for path in sorted(request.lr.iterdir())[3:]:
        path.unlink()
    return request


def exchange(request: Request) -> Request:
    for index in range(20):
        write(request.lr / f'{index:02d}.png', index, HR_SIDE, HR_SIDE)
        write(request.hr / f'{index:02d}.png', index, HR_SIDE, HR_SIDE, noise=1)
    return request


def shrink(request: Request) -> Request:
    for index in range(20):
        write(request.hr / f'{index:02d}.png', index, 100, 100)
    return request


def pairs(request: Request, hr_side: int, lr_side: int, *lr_names: str) -> Request:
    folders = [request.output.with_name(name) for name in ('val_hr', 'val_lr')]
    write(folders[0] / 'a.png', 30, hr_side, hr_side)
    for name in lr_names:
        write(folders[1] / name, 30, lr_side, lr_side)
    return replace(request, val_hr=folders[0], val_lr=folders[1])


def pairs_of_another_scale(request: Request) -> Request:
    return pairs(request, 64, 64, 'a.png')


def pairs_of_other_names(request: Request) -> Request:
    return pairs(request, 160, 40, 'b.png')


def pairs_of_one_name(request: Request) -> Request:
    return pairs(request, 160, 40, 'a.png', 'a.bmp')


def small_pairs(request: Request) -> Request:
    return pairs(request, 64, 16, 'a.png')


def copy_lr_to_hr(request: Request) -> Request:
    shutil.rmtree(request.hr)
    for index in range(20):
        write(request.lr / f'{index:02d}.png', index, HR_SIDE, HR_SIDE)
    shutil.copytree(request.lr, request.hr)
    return request


def only_pairs(request: Request) -> Request:
    for folder, side in ((request.hr, HR_SIDE), (request.lr, HR_SIDE // 4)):
        shutil.rmtree(folder)
        for index in range(6):
            write(folder / f'{index}.png', index, side, side)
    return replace(request, val_hr=request.hr, val_lr=request.lr)


ERRORS: dict[str, tuple[Callable[[Request], Request], str]] = {
    'missing folder': (lambda r: replace(r, hr=Path('none')), "--hr: folder 'none' does not exist"),
    'empty folder': (remove_all, "lr' contains no image: expected files with"),
    'too few images': (keep_three, '--lr: got 3 usable images, expected 5. Add images'),
    'one folder twice': (lambda r: replace(r, lr=r.hr), 'got the same folder'),
    'exchanged folders': (exchange, 'may be exchanged. Exchange --hr and --lr, or use HR images with less noise'),
    'too small images': (shrink, "--hr: skipped 20 of 20 images that are smaller than 144 pixels: '00.png'"),
    'one of two validation folders': (lambda r: replace(r, val_hr=r.hr), '--val_hr: got no --val_lr, expected pairs'),
    'pairs of another scale': (
        pairs_of_another_scale,
        "--val_hr and --val_lr: 'a' has 64x64 and 64x64 pixels, expected a factor of 4. Pass --scale",
    ),
    'only validation pairs': (
        only_pairs,
        '--hr: got 0 usable images, expected 5. Add images',
    ),
    'no validation folder': (lambda r: replace(r, val_hr=r.hr, val_lr=Path('none')), "--val_lr: folder 'none' does"),
    'validation images of other names': (
        pairs_of_other_names,
        "got 2 images without a partner of the same name: 'a.png', 'b.png'. Remove or rename them",
    ),
    'validation images of one name': (
        pairs_of_one_name,
        "--val_lr: got 1 images whose names differ from others in the ending only: 'a.bmp'. Remove or rename them",
    ),
    'small validation images': (small_pairs, "--val_lr: 'a.png' has 16x16 pixels, expected sides of 32 or more"),
    'only camera images': (copy_lr_to_hr, '--hr: got images that are all in --lr, too, expected good images from'),
}


@pytest.mark.parametrize('mistake', ERRORS)
def test_mistakes_end_the_run(request_: Request, mistake: str):
    change, message = ERRORS[mistake]
    with pytest.raises(InputError) as error:
        select_images(change(request_))
    assert message in str(error.value)


def test_all_problems_are_reported_at_once(request_: Request):
    with pytest.raises(InputError) as error:
        select_images(replace(keep_three(request_), hr=Path('none'), val_lr=request_.lr))
    lines = str(error.value).splitlines()
    assert lines[0] == '3 problems' and len(lines) == 4


def corrupt(request: Request) -> None:
    (request.lr / '05.png').write_bytes((request.lr / '05.png').read_bytes()[:500])
    (request.lr / '06.jpg').write_text('no image')


def copy_to_hr(request: Request) -> None:
    write(request.hr / 'from_the_camera.png', 21, HR_SIDE, HR_SIDE)
    shutil.copy(request.hr / 'from_the_camera.png', request.lr / 'also_there.png')


def exchange_without_noise(request: Request) -> None:
    for index in range(20):
        for folder, blur in ((request.hr, 2), (request.lr, 0.1)):
            path = folder / f'{index:02d}.png'
            write(path, index, HR_SIDE, HR_SIDE)
            cv2.imwrite(str(path), cv2.GaussianBlur(read_image(path), (0, 0), blur))


NOTES: dict[str, tuple[Callable[[Request], object], str]] = {
    'corrupt files': (corrupt, "--lr: skipped 2 of 21 images that cannot be read: '05.png', '06.jpg'"),
    'one small image': (
        lambda r: write(r.lr / 'small.png', 0, 20, 60),
        "--lr: skipped 1 of 21 images that are smaller than 32 pixels: 'small.png'",
    ),
    'a copy': (
        lambda r: shutil.copy(r.hr / '01.png', r.hr / '01_copy.png'),
        "--hr: skipped 1 of 21 images that are copies of others: '01_copy.png'",
    ),
    'exchanged folders of a camera without noise': (
        exchange_without_noise,
        'may be exchanged, or the HR images are blurred. The run goes on',
    ),
    'an image in both folders': (
        copy_to_hr,
        "--hr: skipped 1 of 21 images that are in --lr, too: 'from_the_camera.png'",
    ),
    'few images': (
        lambda r: [(r.lr / f'{index:02d}.png').unlink() for index in range(12)],
        'Only 8 LR images: 20 or more describe a camera better.',
    ),
}


@pytest.mark.parametrize('mistake', NOTES)
def test_unusual_images_are_reported_and_left_out(request_: Request, mistake: str):
    change, note = NOTES[mistake]
    change(request_)
    selection = select_images(request_)
    assert any(each.endswith(note) for each in selection.notes)
    used = {path.name for paths in (selection.hr, selection.lr, selection.held_back) for path in paths}
    assert not used & {'06.jpg', 'small.png', '01_copy.png', 'from_the_camera.png'}


def test_held_back_images_are_not_trained_on(request_: Request):
    selection = select_images(request_)
    names = {kind: {path.name for path in getattr(selection, kind)} for kind in ('hr', 'lr', 'held_back', 'val_hr')}
    assert {kind: len(each) for kind, each in names.items()} == {'hr': 18, 'lr': 18, 'held_back': 2, 'val_hr': 2}
    assert not names['hr'] & names['val_hr'] and not names['lr'] & names['held_back']
    assert selection.val_lr == [] and 'validation is on 2 held-back HR images' in selection.notes[0]


def test_camera_images_of_validation_pairs_are_not_measured(request_: Request):
    request = pairs(request_, 162, 40, 'a.bmp')
    shutil.copy(request.val_lr / 'a.bmp', request.lr / 'also_there.bmp')
    selection = select_images(request)
    assert 'also_there.bmp' not in {path.name for path in selection.lr + selection.held_back}
    assert any(note.startswith('--lr: skipped 1 of 21 images that are in --val_lr, too') for note in selection.notes)


def test_validation_pairs_may_have_other_endings_and_are_not_trained_on(request_: Request):
    request = pairs(request_, 162, 40, 'a.bmp')
    shutil.copy(request.val_hr / 'a.png', request.hr / 'copy.png')
    selection = select_images(request)
    assert (selection.val_hr, selection.val_lr) == ([request.val_hr / 'a.png'], [request.val_lr / 'a.bmp'])
    assert request.hr / 'copy.png' not in selection.hr and len(selection.hr) == 20
    assert "--hr: skipped 1 of 21 images that are in --val_hr, too: 'copy.png'" in selection.notes


@pytest.mark.parametrize(
    ('size', 'cropped'), [((500, 420), (384, 384)), ((203, 421), (192, 384)), ((131, 128), (128, 128))]
)
def test_dataset_of_pairs(request_: Request, tmp_path: Path, size: tuple[int, int], cropped: tuple[int, int]):
    """The crops of a pair show the same part, and a file that breaks later is reported."""
    hr = sample_image(height=size[0], width=size[1])
    lr = hr[: size[0] // 4 * 4 : 4, : size[1] // 4 * 4 : 4].copy()
    for name, image in (('hr', hr), ('lr', lr)):
        (tmp_path / 'pair').mkdir(exist_ok=True)
        cv2.imwrite(str(tmp_path / 'pair' / f'{name}.png'), image)
    selection = select_images(request_)
    pair = [tmp_path / 'pair' / f'{name}.png' for name in ('hr', 'lr')]
    selection = replace(selection, val_hr=[pair[0]], val_lr=[pair[1]])
    selection.hr[3].write_text('broken after the check')
    notes = write_dataset(selection, tmp_path / 'data', 4, 100)
    assert len(notes) == 1 and notes[0].startswith('Skipped a HR image: ') and selection.hr[3].name in notes[0]
    crops = [read_image(tmp_path / 'data' / 'validation' / kind / 'hr_png.png') for kind in ('HR', 'LR')]
    assert crops[0].shape == (*cropped, 3)
    np.testing.assert_array_equal(crops[0][::4, ::4], crops[1])
    copies = list_images(tmp_path / 'data' / 'LR')
    assert [path.read_bytes() for path in copies] == [path.read_bytes() for path in selection.lr]
    assert len(list_images(tmp_path / 'data' / 'HR')) == len(selection.hr) - 1


def test_a_dataset_without_any_readable_image_is_an_error(request_: Request, tmp_path: Path):
    selection = Selection([tmp_path / 'none.png'], select_images(request_).lr)
    with pytest.raises(InputError, match='no HR image can be decoded'):
        write_dataset(selection, tmp_path / 'data', 4, 100)
    assert not (tmp_path / 'data').exists()


def test_stems_differ_and_are_not_too_long():
    paths = [
        Path(name) for name in ('a.png', 'a.jpg', 'a_png.png', 'a.png.png', f'{"図" * 80}.png', f'{"図" * 80}.jpg')
    ]
    stems = unique_stems(paths)
    assert stems[:4] == ['a_png', 'a_jpg', 'a_png_png', 'a_png_png_']
    assert len(set(stems)) == 6 and all(len(stem.encode()) <= 101 for stem in stems)


def test_long_runs_have_more_sub_images():
    assert [sub_image_count(seconds) for seconds in (60, 3600, 1e6)] == [1000, 3600, 5000]


def test_sub_images_are_evenly_spaced():
    image = np.arange(1024 * 300 * 3, dtype=np.uint32).reshape(1024, 300, 3)
    crops = sub_images(image, 2, 4)
    np.testing.assert_array_equal(crops[0], image[:256, :256])
    np.testing.assert_array_equal(crops[1], image[768:, :256])
    assert sub_images(image[:130, :131], 5, 4)[0].shape == (128, 128, 3)


def test_times():
    assert [parse_time(text) for text in ('90s', '10m', '2h', '1h30m')] == [90, 600, 7200, 5400]
    for text in ('10', '0m', 'm', '-5m', '1.5h', ''):
        with pytest.raises(InputError, match='expected a duration such as 30m'):
            parse_time(text)
    texts = {45: '45 s', 99.6: '2 min', 720: '12 min', 5400: '90 min', 7260: '2 h 1 min'}
    assert {seconds: duration(seconds) for seconds in texts} == texts
