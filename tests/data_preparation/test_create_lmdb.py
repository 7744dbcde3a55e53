"""scripts/create_lmdb.py: content of the LMDBs, atomic writes and error messages."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from python_process import ROOT, check_script, run_python, run_script
from sample_images import sample_image, write_sample_images
from usrdu_basicsr.data_preparation.create_lmdb import create_lmdbs
from usrdu_basicsr.data_preparation.packing import PackingSettings
from usrdu_basicsr.data_preparation.process_pool import map_in_processes
from usrdu_basicsr.storage.meta_info import read_meta_info
from usrdu_basicsr.storage.open_source import open_source
from usrdu_basicsr.storage.source import IMAGE
from usrdu_basicsr.utils.errors import InputError
from usrdu_basicsr.utils.files import atomic_dir

SCRIPT = ROOT / 'scripts' / 'create_lmdb.py'


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_create_lmdb_script(tmp_path: Path):
    write_sample_images(tmp_path / 'hr', 3)
    output = check_script(SCRIPT, '-i', 'hr', '--workers', '2', '--compression', '9', cwd=tmp_path)
    assert output == 'hr.lmdb\n'
    assert names(tmp_path / 'hr.lmdb') == ['data.mdb', 'meta_info.txt']
    text = (tmp_path / 'hr.lmdb' / 'meta_info.txt').read_text()
    assert text == 'astronaut.png (96,112,3) 9\nchelsea.png (96,112,3) 9\ncoffee.png (96,112,3) 9\n'
    again = run_script(SCRIPT, '-i', 'hr', cwd=tmp_path)
    assert again.returncode == 1
    assert (
        again.stderr == "error: output 'hr.lmdb' already exists. Choose another name, remove it, or pass --overwrite\n"
    )
    write_sample_images(tmp_path / 'hr', 4)
    check_script(SCRIPT, '-i', 'hr', '-o', 'hr.lmdb', '--overwrite', cwd=tmp_path)
    assert len(open_source(tmp_path / 'hr.lmdb', IMAGE)) == 4
    assert names(tmp_path) == ['hr', 'hr.lmdb']
    assert run_script(SCRIPT, '-i', 'hr', 'hr', '-o', 'x.lmdb', cwd=tmp_path).stderr.endswith(
        '-o: got 2 inputs, expected one. Omit -o or pass one input\n'
    )
    for wrong, message in (
        ('nowhere', "folder 'nowhere' does not exist"),
        ('hr.lmdb', "'hr.lmdb' is an LMDB, expected a folder of images"),
    ):
        assert message in run_script(SCRIPT, '-i', wrong, cwd=tmp_path).stderr


def test_more_workers_write_the_same_file(tmp_path: Path):
    write_sample_images(tmp_path / 'hr', 4)
    for workers in (1, 2):
        create_lmdbs([tmp_path / 'hr'], tmp_path / f'{workers}.lmdb', settings=PackingSettings(workers))
    one, two = ((tmp_path / f'{workers}.lmdb' / 'data.mdb').read_bytes() for workers in (1, 2))
    assert one == two


def write_rotated(path: Path) -> None:
    """Write an image with an EXIF orientation that rotates it by 90 degrees."""
    from PIL import Image

    image = Image.fromarray(sample_image(height=40, width=60)[..., ::-1])
    exif = image.getexif()
    exif[0x0112] = 6
    path.parent.mkdir(exist_ok=True)
    image.save(path, exif=exif)


def test_rotated_gray_and_lossy_images_keep_their_pixels(tmp_path: Path):
    write_rotated(tmp_path / 'in' / 'rotated.jpg')
    cv2.imwrite(str(tmp_path / 'in' / 'gray.png'), sample_image()[..., 0])
    cv2.imwrite(str(tmp_path / 'in' / 'alpha.png'), np.dstack([sample_image(), sample_image()[..., :1]]))
    create_lmdbs([tmp_path / 'in'])
    plain, packed = open_source(tmp_path / 'in', IMAGE), open_source(tmp_path / 'in.lmdb', IMAGE)
    for i in range(3):
        np.testing.assert_array_equal(plain.read(i), packed.read(i))
        assert plain.size(i) == packed.size(i)
    assert packed.size(2) == (60, 40)


@pytest.mark.parametrize('name', ['a.jpg', 'a.png', 'zero.png'])
def test_corrupt_image_leaves_no_lmdb(tmp_path: Path, name: str):
    path = write_sample_images(tmp_path / 'hr', 2)[0]
    assert cv2.imwrite(str(path.with_name(name)), sample_image())
    content = path.with_name(name).read_bytes()
    path.with_name(name).write_bytes(b'' if name == 'zero.png' else content[: len(content) // 2])
    with pytest.raises(InputError, match=f"cannot read image '.*{name}'"):
        create_lmdbs([tmp_path / 'hr'])
    assert names(tmp_path) == ['hr']


def test_corruption_is_found_by_decoding(tmp_path: Path):
    path = write_sample_images(tmp_path / 'hr', 3)[1]
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 255
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"cannot read image '.*chelsea.png'"):
        create_lmdbs([tmp_path / 'hr'], settings=PackingSettings(workers=2))
    assert names(tmp_path) == ['hr']


def test_floating_point_images_are_rejected(tmp_path: Path):
    (tmp_path / 'hr').mkdir()
    assert cv2.imwrite(str(tmp_path / 'hr' / 'a.tif'), np.zeros((8, 8, 3), np.float32))
    with pytest.raises(InputError, match=r"a.tif': got float32, expected uint8 or uint16 for PNG"):
        create_lmdbs([tmp_path / 'hr'])


def test_pairs_require_equal_names(tmp_path: Path):
    write_sample_images(tmp_path / 'hr', 3)
    write_sample_images(tmp_path / 'lr', 2)
    with pytest.raises(InputError, match=r"hr/coffee.png' has no partner of the same name in '.*lr'"):
        create_lmdbs([tmp_path / 'hr', tmp_path / 'lr'], pair=True)
    with pytest.raises(InputError, match=r"hr/coffee.png' has no partner"):
        create_lmdbs([tmp_path / 'lr', tmp_path / 'hr'], pair=True)
    assert names(tmp_path) == ['hr', 'lr']
    create_lmdbs([tmp_path / 'hr', tmp_path / 'lr'])
    assert names(tmp_path) == ['hr', 'hr.lmdb', 'lr', 'lr.lmdb']


def test_ambiguous_names_are_rejected(tmp_path: Path):
    path = write_sample_images(tmp_path / 'hr', 1)[0]
    path.with_suffix('.webp').write_bytes(path.read_bytes())
    with pytest.raises(InputError, match=r"astronaut.png' and '.*astronaut.webp' share a name"):
        create_lmdbs([tmp_path / 'hr'])


def start(tmp_path: Path, count: int) -> subprocess.Popen:
    """Start the script and wait until it is writing its LMDB."""
    (tmp_path / 'hr').mkdir()
    noise = np.random.default_rng(0).integers(0, 256, (600, 600, 3), np.uint8)
    assert cv2.imwrite(str(tmp_path / 'hr' / '000.png'), noise)
    for i in range(1, count):
        os.link(tmp_path / 'hr' / '000.png', tmp_path / 'hr' / f'{i:03d}.png')
    process = subprocess.Popen(
        [sys.executable, SCRIPT, '-i', 'hr', '--workers', '2'],
        cwd=tmp_path,
        env={**os.environ, 'PYTHONPATH': str(ROOT), 'USRDU_BASICSR_HOOK': '0'},
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob('.hr.lmdb.*.tmp/data.mdb')):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
    time.sleep(0.5)  # the workers have started
    return process


@pytest.mark.slow
@pytest.mark.parametrize('number', [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_killed_run_leaves_no_partial_lmdb(tmp_path: Path, number: signal.Signals):
    process = start(tmp_path, 900)
    process.send_signal(number)
    process.communicate(timeout=60)
    assert process.returncode == {signal.SIGKILL: -9, signal.SIGTERM: 143, signal.SIGINT: 130}[number]
    assert not (tmp_path / 'hr.lmdb').exists()
    if number is not signal.SIGKILL:
        assert names(tmp_path) == ['hr']
        return
    for path in list((tmp_path / 'hr').iterdir())[3:]:
        path.unlink()
    again = run_script(SCRIPT, '-i', 'hr', cwd=tmp_path)
    assert again.returncode == 0 and 'Remove it if no process is writing it' in again.stderr
    assert len(read_meta_info(tmp_path / 'hr.lmdb' / 'meta_info.txt')) == 3


def kill_itself(number: int) -> int:
    if number == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def test_killed_worker_is_reported():
    with pytest.raises(InputError, match='a worker process was killed'):
        list(map_in_processes(kill_itself, range(10), 2))


def test_other_folders_are_not_replaced(tmp_path: Path):
    write_sample_images(tmp_path / 'hr', 1)
    write_sample_images(tmp_path / 'precious.lmdb', 2)
    with pytest.raises(InputError, match=r"precious.lmdb' contains no meta_info.txt, so this script did not write it"):
        create_lmdbs([tmp_path / 'hr'], tmp_path / 'precious.lmdb', settings=PackingSettings(overwrite=True))
    assert len(names(tmp_path / 'precious.lmdb')) == 2


def test_full_disk_leaves_the_existing_lmdb(tmp_path: Path):
    """The full disk is simulated by a limit on the file size."""
    write_sample_images(tmp_path / 'hr', 4)
    create_lmdbs([tmp_path / 'hr'])
    before = (tmp_path / 'hr.lmdb' / 'data.mdb').read_bytes()
    code = f"""
import resource, runpy, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
sys.argv = ['create_lmdb.py', '-i', 'hr', '--overwrite', '--workers', '1']
runpy.run_path({str(SCRIPT)!r}, run_name='__main__')
"""
    result = run_python('-c', code, cwd=tmp_path)
    assert result.returncode == 1
    assert '/.hr.lmdb.' in result.stderr and 'Check free disk space' in result.stderr
    assert names(tmp_path) == ['hr', 'hr.lmdb'] and (tmp_path / 'hr.lmdb' / 'data.mdb').read_bytes() == before


def test_stray_log_scale_map_is_ignored(tmp_path: Path):
    write_sample_images(tmp_path / 'hr', 2)
    np.save(tmp_path / 'hr' / 'notes.npy', np.zeros(3))
    create_lmdbs([tmp_path / 'hr'])
    assert len(open_source(tmp_path / 'hr.lmdb', IMAGE)) == 2


def test_dotted_folder_and_non_ascii_names_are_packed(tmp_path: Path):
    hr = tmp_path / 'hr'
    path = write_sample_images(hr, 1)[0]
    os.rename(path, os.fsencode(hr) + b'/F\xf6to.png')  # Latin-1, as in old archives
    check_script(SCRIPT, '-i', '.', cwd=hr)
    plain, packed = open_source(hr, IMAGE), open_source(tmp_path / 'hr.lmdb', IMAGE)
    assert packed.keys.tolist() == ['F%F6to'] and plain.stems() == packed.stems()
    np.testing.assert_array_equal(plain.read(0), packed.read(0))


def test_too_long_name_is_rejected(tmp_path: Path):
    path = write_sample_images(tmp_path / 'hr', 1)[0]
    path.rename(path.with_name('写' * 60 + '.png'))
    with pytest.raises(InputError, match=r'got 540 bytes .* expected at most 511. Shorten the name'):
        create_lmdbs([tmp_path / 'hr'])


def test_target_of_a_linked_lmdb_is_replaced(tmp_path: Path):
    write_sample_images(tmp_path / 'hr', 1)
    create_lmdbs([tmp_path / 'hr'], tmp_path / 'disk' / 'a.lmdb')
    (tmp_path / 'a.lmdb').symlink_to(tmp_path / 'disk' / 'a.lmdb')
    write_sample_images(tmp_path / 'hr', 2)
    create_lmdbs([tmp_path / 'hr'], tmp_path / 'a.lmdb', settings=PackingSettings(overwrite=True))
    assert (tmp_path / 'a.lmdb').is_symlink() and len(open_source(tmp_path / 'disk' / 'a.lmdb', IMAGE)) == 2
    assert names(tmp_path / 'disk') == ['a.lmdb']


def test_output_created_in_the_meantime_is_kept(tmp_path: Path):
    with pytest.raises(InputError, match=r"'.*out' already exists"), atomic_dir(tmp_path / 'out', 'mark') as folder:
        (folder / 'mark').touch()
        (tmp_path / 'out').mkdir()
        (tmp_path / 'out' / 'precious').touch()
    assert names(tmp_path) == ['out'] and names(tmp_path / 'out') == ['precious']
