"""Inference on files: inputs, results, errors, and `scripts/inference.py`."""

import gc
import os
import shutil
import time
import weakref
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from basicsr.archs.srvgg_arch import SRVGGNetCompact
from PIL import Image, ImageCms

from published import srn_file
from python_process import ROOT, check_script, run_script
from sample_images import sample_image, write_sample_images
from usrdu_basicsr.archs.dsn_arch import UncertaintyDSN
from usrdu_basicsr.inference.find_inputs import find_inputs
from usrdu_basicsr.inference.upscale_files import Naming, upscale_files
from usrdu_basicsr.inference.upscaler import Upscaler
from usrdu_basicsr.utils.errors import InputError, InputNotFoundError, WriteError
from usrdu_basicsr.utils.file_report import FileReport
from usrdu_basicsr.utils.result_records import ResultRecords

SCRIPT = ROOT / 'scripts' / 'inference.py'


def doubled(image: np.ndarray) -> np.ndarray:
    return image.repeat(2, axis=0).repeat(2, axis=1)


def names(folder: Path) -> list[str]:
    """Files without the hidden record of results."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob('[!.]*') if path.is_file())


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Two images, one of them in a subfolder, a hidden image, a text file and a truncated image."""
    paths = write_sample_images(tmp_path / 'in', 1, 16, 20) + write_sample_images(
        tmp_path / 'in' / 'more' / 'of', 1, 16, 20, 'JPG'
    )
    shutil.copy(paths[0], tmp_path / 'in' / '.hidden.png')
    (tmp_path / 'in' / 'notes.txt').write_text('no image')
    (tmp_path / 'in' / 'broken.png').write_bytes(paths[0].read_bytes()[:100])
    return tmp_path / 'in'


def test_folder_is_searched_recursively(images: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture):
    report = upscale_files(doubled, [images], tmp_path / 'out')
    assert names(tmp_path / 'out') == ['astronaut.png', 'more/of/astronaut.png']
    assert [Path(path).name for path in report.failed] == ['broken.png'] and len(report.written) == 2
    assert 'Ignored 1 files that are not images or are broken links' in caplog.text and 'notes.txt' in caplog.text
    assert "cannot read image '" in caplog.text and 'hidden' not in caplog.text
    result = cv2.imread(str(tmp_path / 'out' / 'astronaut.png'))
    np.testing.assert_array_equal(result, doubled(sample_image(height=16, width=20)))


def test_existing_results_are_skipped(images: Path, tmp_path: Path):
    (images / 'broken.png').unlink()
    out = tmp_path / 'out'
    upscale_files(doubled, [images], out)
    first = {path: path.stat().st_mtime_ns for path in out.rglob('*.png')}
    report = upscale_files(doubled, [images], out)
    assert len(report.skipped) == 2 and not report.written
    assert first == {path: path.stat().st_mtime_ns for path in out.rglob('*.png')}

    for modified in (time.time() + 5, 0):  # replaced by a newer or an older file
        os.utime(images / 'astronaut.png', (modified, modified))
        assert len(upscale_files(doubled, [images], out).written) == 1
    for network in ('a', 'b', 'a'):
        assert len(upscale_files(doubled, [images], out, settings={'network': network}).written) == 2
        assert len(upscale_files(doubled, [images], out, settings={'network': network}).skipped) == 2
    cv2.imwrite(str(out / 'astronaut.png'), np.zeros((5, 5, 3)))  # replaced by another image
    assert upscale_files(doubled, [images], out, settings={'network': 'a'}).written == [str(images / 'astronaut.png')]
    upscale_files(doubled, [images], out, overwrite=True)
    assert len(upscale_files(doubled, [images], out, overwrite=True).written) == 2
    (out / 'astronaut.png').unlink()
    assert upscale_files(doubled, [images], out).written == [str(images / 'astronaut.png')]


def test_output_folder_inside_the_input_is_ignored(images: Path):
    for source in (images, images, images / '**' / '*.*'):
        upscale_files(doubled, [source], images / 'out', overwrite=True)
        (images / 'more' / 'of' / 'astronaut.JPG').unlink(missing_ok=True)
    assert names(images / 'out') == ['astronaut.png', 'more/of/astronaut.png']


def test_files_patterns_and_folders_are_found(images: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture):
    """Files, patterns and folders, in the given order and without duplicates."""
    a, b = images / 'astronaut.png', images / 'more' / 'of' / 'astronaut.JPG'
    (images / 'broken.png').unlink()
    for sources, expected in (
        ([a], {a: Path()}),
        ([images / '*.png'], {a: Path()}),
        ([images / '**' / '*.JPG'], {b: Path('more/of')}),
        ([images / '*', images], {a: Path(), b: Path('more/of')}),
        ([images / 'm*'], {b: Path('more/of')}),
        ([images], {a: Path(), b: Path('more/of')}),
        ([b, images], {b: Path(), a: Path()}),
    ):
        assert find_inputs(sources, tmp_path / 'out') == expected
    (images / 'loop').symlink_to(images)
    assert find_inputs([images / '**' / '*.*'], tmp_path / 'out') == {a: Path(), b: Path('more/of')}
    (images / 'gone.png').symlink_to('nowhere')  # broken link
    os.mkfifo(images / 'pipe.png')
    assert find_inputs([images, images / '*.png'], tmp_path / 'out') == {a: Path(), b: Path('more/of')}
    assert "files that are not images or are broken links: '" in caplog.text and 'gone.png' in caplog.text
    with pytest.raises(InputError, match='no image found in'):
        find_inputs([images / 'pipe.png'], tmp_path / 'out')
    shutil.copy(a, images / 'a[1].png')  # file name that looks like a pattern
    assert find_inputs([images / 'a[1].png'], tmp_path / 'out') == {images / 'a[1].png': Path()}


@pytest.mark.parametrize('source', ['in', 'in/*.png'])
def test_results_in_the_input_folder_are_not_inputs(images: Path, tmp_path: Path, source: str):
    (images / 'broken.png').unlink()
    for count in (0, 1):
        report = upscale_files(doubled, [tmp_path / source], images, Naming('_x2'))
        assert len(report.skipped) == count * len(report.written + report.skipped) and not report.failed
    assert (images / 'astronaut_x2.png').exists() and not (images / 'astronaut_x2_x2.png').exists()


@pytest.mark.parametrize(
    ('naming', 'expected'),
    [
        (Naming(), ['astronaut.png', 'more/of/astronaut.png']),
        (Naming('_x2'), ['astronaut_x2.png', 'more/of/astronaut_x2.png']),
        (Naming(ext='jpg'), ['astronaut.jpg', 'more/of/astronaut.jpg']),
        (Naming('_x2', 'auto'), ['astronaut_x2.png', 'more/of/astronaut_x2.JPG']),
    ],
)
def test_names_of_results(images: Path, tmp_path: Path, naming: Naming, expected: list[str]):
    upscale_files(doubled, [images], tmp_path / 'out', naming)
    assert names(tmp_path / 'out') == expected
    with Image.open(tmp_path / 'out' / expected[1]) as image:
        assert image.format == ('PNG' if expected[1].endswith('png') else 'JPEG')


def test_image_formats_are_preserved(tmp_path: Path):
    folder, out = tmp_path / 'in', tmp_path / 'out'
    folder.mkdir()
    colour = sample_image(height=16, width=20)
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile('sRGB')).tobytes()
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(colour[..., ::-1]).save(folder / 'rotated.png', exif=exif, icc_profile=profile)
    cv2.imwrite(str(folder / 'gray.png'), colour[..., 0])
    cv2.imwrite(str(folder / 'alpha.png'), np.dstack([colour, colour[..., 0]]))
    cv2.imwrite(str(folder / 'deep.png'), colour.astype(np.uint16) * 257)
    cv2.imwrite(str(folder / 'float.tif'), colour.astype(np.float32) / 255)
    assert not upscale_files(doubled, [folder], out).failed
    read = {path.stem: cv2.imread(str(path), cv2.IMREAD_UNCHANGED) for path in out.iterdir()}
    np.testing.assert_array_equal(read['gray'], doubled(colour[..., 0]))
    np.testing.assert_array_equal(read['alpha'], doubled(np.dstack([colour, colour[..., 0]])))
    for name in ('deep', 'float'):
        assert read[name].dtype == np.uint16
        np.testing.assert_array_equal(read[name], doubled(colour.astype(np.uint16) * 257))
    np.testing.assert_array_equal(read['rotated'], doubled(np.rot90(colour, -1)))
    with Image.open(out / 'rotated.png') as image:
        assert image.info['icc_profile'] == profile and image.getexif().get(0x0112, 1) == 1


def test_failed_images_are_skipped(images: Path, tmp_path: Path):
    """The run continues after a failure of reading, upscaling or writing."""
    cv2.imwrite(str(images / 'alpha.png'), np.zeros((4, 4, 4), np.uint8))
    cv2.imwrite(str(images / 'huge.png'), np.zeros((5, 5, 3), np.uint8))
    cv2.imwrite(str(images / 'taken.png'), np.zeros((6, 6, 3), np.uint8))
    (tmp_path / 'out' / 'taken.jpg').mkdir(parents=True)

    def upscale(image: np.ndarray) -> np.ndarray:
        if image.shape[0] == 5:
            raise MemoryError('cannot allocate')
        return doubled(image)

    report = upscale_files(upscale, [images], tmp_path / 'out', Naming(ext='jpg'))
    assert sorted(Path(path).name for path in report.failed) == ['alpha.png', 'broken.png', 'huge.png', 'taken.png']
    assert names(tmp_path / 'out') == ['astronaut.jpg', 'more/of/astronaut.jpg']


def test_full_disk_ends_the_run(images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def full(*_: object) -> None:
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr('os.fsync', full)
    with pytest.raises(WriteError, match='No space left on device'):
        upscale_files(doubled, [images], tmp_path / 'out')
    assert names(tmp_path / 'out') == []


def test_number_of_results_in_memory_is_limited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Results of large images take gigabytes, so at most as many as workers are alive."""
    write_sample_images(tmp_path / 'in', 4, 16, 20)
    results: list[weakref.ref] = []
    alive = []

    class Result(np.ndarray):
        """Array that supports weak references."""

    def upscale(image: np.ndarray) -> np.ndarray:
        time.sleep(0.01)  # a writer frees a result shortly after its future is done
        gc.collect()
        alive.append(sum(reference() is not None for reference in results))
        result = doubled(image).view(Result)
        results.append(weakref.ref(result))
        return result

    monkeypatch.setattr('usrdu_basicsr.inference.upscale_files.write_image_file', lambda *_: time.sleep(0.05))
    upscale_files(upscale, [tmp_path / 'in'], tmp_path / 'out', workers=2)
    assert len(alive) == 4 and max(alive) <= 1  # in addition to the new one


def test_images_are_divided_among_processes(images: Path, tmp_path: Path):
    write_sample_images(images, 4, 16, 20)
    reports = [upscale_files(doubled, [images], tmp_path / 'out', share=(rank, 3)) for rank in range(3)]
    assert [len(report.written) + len(report.failed) for report in reports] == [2, 2, 2]
    assert len(names(tmp_path / 'out')) == 5


@pytest.mark.parametrize(('workers', 'count'), [(1, 4), (3, 4), (8, 4)])
def test_any_number_of_workers_gives_the_same_report(tmp_path: Path, workers: int, count: int):
    paths = write_sample_images(tmp_path / 'in', count, 16, 20)
    report = upscale_files(doubled, paths, tmp_path / 'out', workers=workers)
    assert report == FileReport(written=[str(path) for path in paths])


def test_inputs_are_not_overwritten(tmp_path: Path):
    (path,) = write_sample_images(tmp_path / 'in', 1, 16, 20)
    before = path.read_bytes()
    for source in (tmp_path / 'in', path):
        with pytest.raises(InputError, match='would replace an input'):
            upscale_files(doubled, [source], tmp_path / 'out' / '..' / 'in')
    write_sample_images(tmp_path / 'in', 1, 16, 20, 'jpg')
    with pytest.raises(InputError, match=r"would both be '.*astronaut.png'. Use --ext auto, or rename one"):
        upscale_files(doubled, [tmp_path / 'in'], tmp_path / 'out')
    assert path.read_bytes() == before and not (tmp_path / 'out').exists()
    assert len(upscale_files(doubled, [tmp_path / 'in'], tmp_path / 'out', Naming(ext='auto')).written) == 2


def test_original_with_the_name_of_a_result_is_not_overwritten(tmp_path: Path):
    folder, naming = tmp_path / 'in', Naming('_x2')
    (path,) = write_sample_images(folder, 1, 16, 20)
    assert upscale_files(doubled, [folder], folder, naming).written == [str(path)]
    assert upscale_files(doubled, [folder], folder, naming).skipped == [str(path)]  # the result is not an input
    (folder / '.results.jsonl').unlink()
    original = (folder / 'astronaut_x2.png').read_bytes()
    for overwrite in (False, True):
        with pytest.raises(InputError, match=r"result '.*_x2\.png' of '.*astronaut\.png' would replace an input"):
            upscale_files(doubled, [folder], folder, naming, overwrite=overwrite)
    assert (folder / 'astronaut_x2.png').read_bytes() == original and len(list(folder.iterdir())) == 2


def test_results_of_other_runs_are_not_inputs(tmp_path: Path):
    """With another suffix, ending or subfolder, unless they are named."""
    folder = tmp_path / 'in'
    (path,) = write_sample_images(folder, 1, 16, 20)
    for output, naming in ((folder, Naming('_x2')), (folder, Naming('_soft')), (folder, Naming(ext='jpg'))):
        assert upscale_files(doubled, [folder], output, naming).written == [str(path)]
        assert upscale_files(doubled, [folder], output, naming).skipped == [str(path)]
    for output in (folder / 'strong', folder / 'soft'):
        assert upscale_files(doubled, [folder], output).written == [str(path)]
    assert upscale_files(doubled, [folder / '*.png'], tmp_path / 'out').written == [str(path)]
    named = [path, folder / 'astronaut_x2.png']
    assert upscale_files(doubled, named, tmp_path / 'named').written == [str(each) for each in named]


def test_results_of_a_run_are_upscaled_again(tmp_path: Path):
    """A folder that has nothing but results is an input like any other, also if its results are written there."""
    (path,) = write_sample_images(tmp_path / 'in', 1, 16, 20)
    upscale_files(doubled, [tmp_path / 'in'], tmp_path / 'first')
    first = tmp_path / 'first' / path.name
    first.with_name('Thumbs.db').touch()
    assert upscale_files(doubled, [tmp_path / 'first'], tmp_path / 'second').written == [str(first)]
    for _ in range(2):
        upscale_files(doubled, [tmp_path / 'first'], tmp_path / 'first', Naming('_x2'))
    assert sorted(each.name for each in (tmp_path / 'first').glob('*.png')) == ['astronaut.png', 'astronaut_x2.png']


@pytest.mark.parametrize('output', ['in', 'out'])
def test_file_that_is_no_recorded_result_is_not_overwritten(tmp_path: Path, output: str):
    """The file is not an input, because only the other image is named, or because it is in another folder."""
    image, second = write_sample_images(tmp_path / 'in', 2, 16, 20)
    original = tmp_path / output / f'{second.stem}_x2.png'
    original.parent.mkdir(exist_ok=True)
    original.write_bytes(b'original')
    arguments = (doubled, [image, second], tmp_path / output, Naming('_x2'))
    message = rf"result '{original}' of '{second}' would replace a file that is no .* pass --overwrite"
    with pytest.raises(InputError, match=message):
        upscale_files(*arguments)
    assert original.read_bytes() == b'original' and not (tmp_path / output / f'{image.stem}_x2.png').exists()
    assert len(upscale_files(*arguments, overwrite=True).written) == 2
    assert len(upscale_files(*arguments).skipped) == len(upscale_files(*arguments, overwrite=True).written) == 2


def test_result_of_another_process_is_not_an_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The other process writes its result while this one starts."""
    folder, naming = tmp_path / 'in', Naming('_x2')
    paths = write_sample_images(folder, 2, 16, 20)

    def find_inputs_late(*arguments: Any) -> dict[Path, Path]:
        monkeypatch.undo()
        assert upscale_files(doubled, [folder], folder, naming, share=(0, 2)).written == [str(paths[0])]
        return find_inputs(*arguments)

    monkeypatch.setattr('usrdu_basicsr.inference.upscale_files.find_inputs', find_inputs_late)
    assert upscale_files(doubled, [folder], folder, naming, share=(1, 2)).written == [str(paths[1])]


def test_result_of_a_killed_run_is_not_an_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    folder, naming = tmp_path / 'in', Naming('_x2')
    (path,) = write_sample_images(folder, 1, 16, 20)

    def kill(*_: object) -> None:
        raise KeyboardInterrupt  # after the image was written, before its record

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(ResultRecords, 'add', kill)
        upscale_files(doubled, [folder], folder, naming)
    assert (folder / 'astronaut_x2.png').is_file()
    assert upscale_files(doubled, [folder], folder, naming).written == [str(path)]


def test_invalid_inputs_are_rejected(tmp_path: Path):
    (tmp_path / 'empty').mkdir()
    for source, error, message in (
        ('nowhere', InputNotFoundError, r"input '.*nowhere' is no file, folder or pattern with a match"),
        ('*.png', InputNotFoundError, 'is no file, folder or pattern with a match'),
        ('empty', InputError, r'no image found in .*empty: expected files ending in \.bmp'),
    ):
        with pytest.raises(error, match=message):
            upscale_files(doubled, [tmp_path / source], tmp_path / 'out')
    (tmp_path / 'file').touch()
    with pytest.raises(InputError, match=r"output '.*file': '.*file' is a file"):
        upscale_files(doubled, [tmp_path], tmp_path / 'file')
    for settings, message in (
        ({'ext': 'gif'}, "ext: got 'gif', expected auto"),
        ({'suffix': 'a/b'}, "suffix: got 'a/b'"),
    ):
        with pytest.raises(InputError, match=message):
            Naming(**settings)


def write_network(path: Path, upscale: int = 2) -> SRVGGNetCompact:
    torch.manual_seed(0)
    net = SRVGGNetCompact(num_feat=4, num_conv=1, upscale=upscale)
    torch.save({'params_ema': net.state_dict()}, path)
    return net.eval()


def test_inference_script(images: Path, tmp_path: Path):
    upscale = Upscaler(write_network(tmp_path / 'net.pth'))
    result = run_script(SCRIPT, '-i', 'in', '-o', 'out', '--model_path', 'net.pth', '--suffix', '_x2', cwd=tmp_path)
    assert result.returncode == 1 and result.stdout == '2 written, 0 skipped (already exist), 1 failed\n'
    assert 'broken.png' in result.stderr and 'Traceback' not in result.stderr
    written = cv2.imread(str(tmp_path / 'out' / 'astronaut_x2.png'))
    np.testing.assert_array_equal(written, upscale(sample_image(height=16, width=20)))

    (images / 'broken.png').unlink()
    arguments = ['-i', 'in/astronaut.png', 'in/more', '-o', 'all', '--model_path', 'net.pth', '--ext', 'auto']
    arguments += ['--outscale', '3', '--tile', '32', '--overlap', '8']
    arguments += ['--self_ensemble', '--device', 'cpu', '--workers', '1']
    assert check_script(SCRIPT, *arguments, cwd=tmp_path) == '2 written, 0 skipped (already exist), 0 failed\n'
    assert names(tmp_path / 'all') == ['astronaut.png', 'of/astronaut.JPG']
    written = cv2.imread(str(tmp_path / 'all' / 'astronaut.png'))
    expected = Upscaler(upscale.network, tile=32, overlap=8, self_ensemble=True, outscale=3)
    np.testing.assert_array_equal(written, expected(sample_image(height=16, width=20)))
    assert check_script(SCRIPT, *arguments, cwd=tmp_path) == '0 written, 2 skipped (already exist), 0 failed\n'


def test_inference_script_reads_a_published_checkpoint(tmp_path: Path):
    torch.save(srn_file(), tmp_path / 'published.pth')
    write_sample_images(tmp_path / 'in', 1, 16, 20)
    check_script(SCRIPT, '-i', 'in', '-o', 'out', '--model_path', 'published.pth', cwd=tmp_path)
    assert cv2.imread(str(tmp_path / 'out' / 'astronaut.png')).shape == (64, 80, 3)


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['--model_path', 'dsn.pth'], "error: checkpoint 'dsn.pth' is a stage 1 DSN, which downsamples"),
        (['--model_path', 'nowhere.pth'], "error: checkpoint 'nowhere.pth' does not exist"),
        (['--model_path', 'net.pth', '--tile', '5'], 'error: tile: got 5'),
        (['--model_path', 'net.pth', '--precision', 'fp8'], "error: precision: got 'fp8'"),
        (['--model_path', 'net.pth', '--ext', 'gif'], "error: ext: got 'gif'"),
    ],
)
def test_errors_are_reported_in_one_line(images: Path, tmp_path: Path, arguments: list[str], message: str):
    write_network(tmp_path / 'net.pth')
    torch.save({'params': UncertaintyDSN(num_feat=4, num_block=1).state_dict()}, tmp_path / 'dsn.pth')
    result = run_script(SCRIPT, '-i', 'in', '-o', 'out', *arguments, cwd=tmp_path)
    assert result.returncode == 1 and result.stderr.startswith(message) and result.stderr.count('\n') == 1
    assert not (tmp_path / 'out').exists()
