"""Datasets: returned values and rejected data."""

import json
import multiprocessing
import os
import signal
import socket
import struct
import time
import zlib
from multiprocessing import resource_sharer
from multiprocessing.connection import Client
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from basicsr.data import build_dataloader, build_dataset
from basicsr.data.data_sampler import EnlargedSampler
from torch.utils.data import DataLoader, Dataset

from sample_images import downsample_images, write_sample_images
from usrdu_basicsr.data.train_dataloader import TrainDataLoader
from usrdu_basicsr.utils.errors import InputError, InputNotFoundError, WorkerDiedError
from usrdu_basicsr.utils.images import decode_image


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    write_sample_images(tmp_path / 'hr', 3)
    write_sample_images(tmp_path / 'camera', 2, 24, 40)
    downsample_images(tmp_path / 'hr', tmp_path / 'set' / 'lr')
    (tmp_path / 'set' / 'log_scale').mkdir()
    for path in (tmp_path / 'set' / 'lr').iterdir():
        # log-scales equal to the image, so that crops and flips can be compared
        image = cv2.imread(str(path))[..., ::-1]
        np.save(tmp_path / 'set' / 'log_scale' / f'{path.stem}.npy', (image / 255).astype(np.float16))
    (tmp_path / 'set' / 'generation.json').write_text('{"scale": 4}')
    return tmp_path


def unpaired(folder: Path, **changes: object) -> dict:
    return {
        'name': 'unpaired',
        'type': 'UnpairedImageDataset',
        'dataroot_gt': str(folder / 'hr'),
        'dataroot_lq': str(folder / 'camera'),
        'gt_size': 64,
        'use_hflip': True,
        'use_rot': True,
        'scale': 4,
        'phase': 'train',
        'batch_size_per_gpu': 2,
        'num_worker_per_gpu': 0,
    } | changes


def generated(folder: Path, **changes: object) -> dict:
    changes = {
        'type': 'UncertaintyPairedDataset',
        'dataroot_lq': str(folder / 'set' / 'lr'),
        'dataroot_log_scale': str(folder / 'set' / 'log_scale'),
    } | changes
    return unpaired(folder, **changes)


def contains_patch(path: str, patch: torch.Tensor) -> bool:
    """Whether an image contains an augmented patch."""
    image = torch.from_numpy(cv2.imread(path)[..., ::-1].copy()).permute(2, 0, 1).float() / 255
    size = patch.shape[-1]
    windows = image.unfold(1, size, 1).unfold(2, size, 1)  # (3, rows, columns, size, size)
    for turns in range(4):
        for flipped in (patch, patch.flip(-1)):
            rotated = torch.rot90(flipped, turns, (-2, -1))
            equal_rows = (windows[..., 0, :] - rotated[:, None, None, 0]).abs().amax((0, 3)) < 1e-6
            for top, left in equal_rows.nonzero().tolist():
                if (windows[:, top, left] - rotated).abs().max() < 1e-6:
                    return True
    return False


def test_unpaired_items_are_patches_of_the_images(folders: Path):
    dataset = build_dataset(unpaired(folders))
    assert len(dataset) == 2
    hr_seen = set()
    for i in range(20):
        item = dataset[i % 2]
        assert item['gt'].shape == (3, 64, 64) and item['lq'].shape == (3, 16, 16)
        assert item['lq_path'] == dataset.lq.name(i % 2)
        hr_seen.add(item['gt_path'])
        if i < 4:
            assert contains_patch(item['gt_path'], item['gt']) and contains_patch(item['lq_path'], item['lq'])
    assert len(hr_seen) == 3


def test_generated_items_match(folders: Path):
    dataset = build_dataset(generated(folders))
    assert len(dataset) == 3
    for i in range(6):
        item = dataset[i % 3]
        assert item['gt'].shape == (3, 64, 64)
        assert item['lq'].shape == item['log_scale'].shape == (3, 16, 16)
        torch.testing.assert_close(item['lq'], item['log_scale'], atol=5e-4, rtol=0)  # float16, RGB
        assert contains_patch(item['gt_path'], item['gt'])
        # cropping and area downsampling commute
        downsampled = torch.nn.functional.avg_pool2d(item['gt'], 4)
        torch.testing.assert_close(item['lq'], downsampled, atol=1 / 255, rtol=0)


def test_hr_images_are_full_images_in_validation(folders: Path):
    write_sample_images(folders / 'odd', 1, 97, 110)
    full = build_dataset(unpaired(folders, type='HRImageDataset', dataroot_gt=str(folders / 'odd'), phase='val'))[0]
    assert full['gt'].shape == (3, 96, 108)
    image = torch.from_numpy(cv2.imread(full['gt_path'])[:96, :108, ::-1].copy()).permute(2, 0, 1) / 255
    torch.testing.assert_close(full['gt'], image)


def test_hr_image_is_cropped_to_a_multiple_of_the_scale(folders: Path):
    write_sample_images(folders / 'hr', 1, 99, 113)  # still 24x28 LR pixels
    dataset = build_dataset(generated(folders, phase='val'))
    assert dataset[0]['gt'].shape == (3, 96, 112) and dataset[0]['lq'].shape == (3, 24, 28)


def break_file(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:20])


@pytest.mark.parametrize(
    ('change', 'options', 'error', 'message'),
    [
        (None, {'dataroot_gt': 'nowhere'}, InputNotFoundError, "folder 'nowhere' does not exist"),
        (lambda f: (f / 'empty').mkdir(), {'dataroot_lq': '{}/empty'}, InputError, 'empty.*contains no image'),
        (
            None,
            {'gt_size': 128},
            InputError,
            r'astronaut.png.*: got 96x112 pixels, expected at least 128x128 .*; .*chelsea.png.*; .*coffee.png',
        ),
        (None, {'gt_size': 66}, InputError, 'gt_size: got 66, expected a multiple of scale 4'),
        (lambda f: break_file(f / 'camera' / 'chelsea.png'), {}, InputError, r"cannot read image '.*chelsea\.png'"),
        (lambda f: (f / 'hr' / 'text.jpg').write_text('no image'), {}, InputError, "cannot read image '.*text.jpg'"),
        (lambda f: (f / 'hr' / 'zero.png').touch(), {}, InputError, "cannot read image '.*zero.png'"),
        (None, {'phase': 'val'}, InputError, 'UnpairedImageDataset supports training only'),
        (None, {'on_bad_image': 'ignore'}, InputError, "on_bad_image: got 'ignore', expected stop or skip"),
        (None, {'epoch_over': 'hr'}, InputError, "epoch_over: got 'hr', expected lq or gt"),
    ],
)
def test_bad_unpaired_data_is_rejected(folders: Path, change, options: dict, error: type, message: str):
    if change is not None:
        change(folders)
    options = {k: v.format(folders) if isinstance(v, str) else v for k, v in options.items()}
    with pytest.raises(error, match=message):
        build_dataset(unpaired(folders, **options))


def set_description(folder: Path, text: str) -> None:
    (folder / 'set' / 'generation.json').write_text(text)


@pytest.mark.parametrize(
    ('change', 'error', 'message'),
    [
        (lambda f: set_description(f, json.dumps({'scale': 2})), InputError, 'got scale 2, expected 4'),
        (lambda f: set_description(f, '{'), InputError, r'generation.json. is not JSON'),
        (lambda f: set_description(f, '[]'), InputError, r'generation.json. contains no scale'),
        (lambda f: set_description(f, '{}'), InputError, r'generation.json. contains no scale'),
        (lambda f: (f / 'set/lr/coffee.png').unlink(), InputError, r"coffee.png'.* in '.*lr'. Run usrdu generate"),
        (lambda f: (f / 'set/log_scale/coffee.npy').unlink(), InputError, r"coffee.png' has no partner .*log_scale'"),
        (
            lambda f: write_sample_images(f / 'set/lr', 1, 20, 28),
            InputError,
            r'got \(20, 28\) pixels .* expected 1/4 of \(96, 112\)',
        ),
    ],
)
def test_bad_generated_set_is_rejected(folders: Path, change, error: type, message: str):
    change(folders)
    with pytest.raises(error, match=message):
        build_dataset(generated(folders))


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        (np.zeros((24, 28)), r'expected floats of shape \(H, W, 3\)'),
        (np.zeros((24, 28, 3), np.int16), 'expected floats'),
        (np.full((24, 28, 3), None), 'expected an array of numbers'),
        (np.zeros((2, 2, 3)), r'got \(2, 2\) pixels .* expected 1/4 of \(96, 112\)'),
        (None, 'cannot read log-scale map'),
    ],
)
def test_bad_log_scale_map_is_rejected(folders: Path, content: np.ndarray | None, message: str):
    path = folders / 'set' / 'log_scale' / 'astronaut.npy'
    if content is None:
        path.write_bytes(path.read_bytes()[:-10])
    else:
        np.save(path, content)
    with pytest.raises(InputError, match=message):
        build_dataset(generated(folders))


def test_image_that_becomes_corrupt_during_training_is_reported(folders: Path):
    opt = unpaired(folders, num_worker_per_gpu=1)
    dataset = build_dataset(opt)
    for path in (folders / 'camera').iterdir():
        path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(InputError, match=r"cannot read image '.*.png'"):
        next(iter(build_dataloader(dataset, opt, num_gpu=0, seed=0)))


def test_epoch_over_either_side_draws_from_the_other(folders: Path):
    for side, count, others in (('lq', 2, 3), ('gt', 3, 2)):
        dataset = build_dataset(unpaired(folders, epoch_over=side))
        assert len(dataset) == count
        items = [dataset[i % count] for i in range(24)]
        assert [Path(item[f'{side}_path']).name for item in items[:count]] == sorted(
            {Path(item[f'{side}_path']).name for item in items}
        )
        # each image of one side is combined with each of the other
        assert len({(item['gt_path'], item['lq_path']) for item in items}) == count * others


def skipping(folders: Path, **changes: object) -> dict:
    return unpaired(folders, on_bad_image='skip', **changes)


def test_bad_images_at_the_start_are_skipped_and_counted(folders: Path, caplog: pytest.LogCaptureFixture):
    break_file(folders / 'hr' / 'chelsea.png')
    write_sample_images(folders / 'hr', 1, 40, 40)  # too small for a patch
    dataset = build_dataset(skipping(folders))
    assert dataset.gt_policy.bad == 2 and dataset.lq_policy.bad == 0
    assert {Path(dataset[i % 2]['gt_path']).name for i in range(20)} == {'coffee.png'}
    assert "chelsea.png': the file is corrupt or not an image. Replace or remove it" in caplog.text
    assert 'Skipped bad image (on_bad_image: skip, 2 of 3 so far)' in caplog.text
    assert 'got 40x40 pixels' in caplog.text
    break_file(folders / 'hr' / 'coffee.png')
    with pytest.raises(InputError, match='all 3 images are bad'):
        build_dataset(skipping(folders))


@pytest.mark.parametrize(('method', 'workers'), [('fork', 2), pytest.param('spawn', 1, marks=pytest.mark.slow)])
def test_bad_images_found_by_a_worker_are_skipped_by_all(folders: Path, method: str, workers: int):
    opt = skipping(folders, num_worker_per_gpu=workers, batch_size_per_gpu=1)
    dataset = build_dataset(opt)
    (folders / 'camera' / 'astronaut.png').unlink()
    (folders / 'hr' / 'coffee.png').write_text('not an image')
    sampler = EnlargedSampler(dataset, 1, 0, 16)
    loader = DataLoader(dataset, 2, sampler=sampler, num_workers=workers, multiprocessing_context=method)
    seen = [path for batch in loader for path in (*batch['lq_path'], *batch['gt_path'])]
    assert len(seen) == 64
    assert {Path(path).name for path in seen if 'camera' in path} == {'chelsea.png'}
    assert 'coffee.png' not in {Path(path).name for path in seen}
    assert dataset.lq_policy.bad == 1 and dataset.gt_policy.bad == 1


def test_damaged_part_of_a_generated_set_is_skipped(folders: Path):
    opt = generated(folders, on_bad_image='skip')
    dataset = build_dataset(opt)
    np.save(folders / 'set' / 'log_scale' / 'astronaut.npy', np.zeros((5, 5, 3), np.float16))
    write_sample_images(folders / 'hr', 1, 48, 48)  # changed since the start
    assert {Path(dataset[0]['gt_path']).name for _ in range(20)} == {'chelsea.png', 'coffee.png'}
    assert dataset.policy.bad == 1
    with pytest.raises(InputError, match=r'astronaut.png.*expected 1/4 of \(48, 48\)'):
        build_dataset(generated(folders))


def test_only_listed_images_are_read(folders: Path):
    (folders / 'hr' / 'with space').mkdir()
    write_sample_images(folders / 'hr' / 'with space', 1)
    (folders / 'hr.txt').write_text('with space/astronaut.png (96,112,3) 1\n\ncoffee.png\n')
    (folders / 'lq.txt').write_text('chelsea.png (24,40,3)\n')
    opt = unpaired(folders, meta_info_file=str(folders / 'hr.txt'), meta_info_file_lq=str(folders / 'lq.txt'))
    dataset = build_dataset(opt)
    assert dataset.gt.stems() == ['with space/astronaut', 'coffee'] and dataset.lq.stems() == ['chelsea']
    item = dataset[0]
    assert contains_patch(item['gt_path'], item['gt'])
    (folders / 'lq.txt').write_text('chelsea.png\nrocket.png\n')
    with pytest.raises(InputError, match=r"cannot read '.*rocket.png'.*No such file"):
        build_dataset(opt)
    dataset = build_dataset(opt | {'on_bad_image': 'skip'})
    assert dataset.lq_policy.bad == 1 and Path(dataset[1]['lq_path']).name == 'chelsea.png'
    with pytest.raises(InputNotFoundError, match="meta info 'nowhere' does not exist"):
        build_dataset(opt | {'meta_info_file': 'nowhere'})


def test_validation_images_are_checked_before_a_run(folders: Path):
    (folders / 'hr' / 'coffee.png').write_bytes(b'')
    opt = unpaired(folders, type='HRImageDataset', phase='val')
    with pytest.raises(InputError, match=r"cannot read image '.*coffee.png'"):
        build_dataset(opt)


def test_non_finite_log_scales_are_reported(folders: Path):
    path = folders / 'set' / 'log_scale' / 'chelsea.npy'
    np.save(path, np.full((24, 28, 3), np.nan, np.float16))
    with pytest.raises(InputError, match=r"chelsea.npy' \(got non-finite values"):
        build_dataset(generated(folders))[1]


def test_multi_line_error_is_joined_to_one_line():
    header = b'IHDR' + struct.pack('>IIBBBBB', 40000, 40000, 8, 2, 0, 0, 0)
    content = b'\x89PNG\r\n\x1a\n' + struct.pack('>I', 13) + header + struct.pack('>I', zlib.crc32(header))
    with pytest.raises(InputError, match="cannot read image 'huge'") as raised:
        decode_image(content, 'huge')
    assert '\n' not in str(raised.value)


class Broken(Dataset):
    """User-defined dataset that may raise an error."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error

    def __len__(self) -> int:
        return 100  # more than a worker prefetches

    def __getitem__(self, index: int) -> int:
        if self.error is not None:
            raise self.error
        return index


class BrokenConnection(DataLoader):
    def __iter__(self):
        yield 0
        raise ConnectionResetError(104, 'Connection reset by peer')


def test_broken_connection_to_a_worker_is_reported_as_a_killed_worker():
    batches = iter(TrainDataLoader(BrokenConnection(Broken())))
    assert next(batches) == 0
    with pytest.raises(WorkerDiedError, match='a data worker was killed, possibly for lack of memory'):
        next(batches)


@pytest.mark.slow
def test_killed_worker_is_reported_when_a_batch_is_awaited():
    batches = iter(TrainDataLoader(DataLoader(range(100), num_workers=1, batch_size=None)))
    assert next(batches) == 0
    (worker,) = multiprocessing.active_children()
    blocked = next(line for line in Path(f'/proc/{worker.pid}/status').read_text().splitlines() if 'SigBlk' in line)
    assert all(int(blocked.split()[1], 16) >> (number - 1) & 1 for number in (signal.SIGINT, signal.SIGTERM))
    os.kill(worker.pid, signal.SIGTERM)  # SIGTERM is blocked
    assert next(batches) == 1
    time.sleep(0.5)  # until the worker waits: killed while it holds a lock of PyTorch, it would block PyTorch, too
    os.kill(worker.pid, signal.SIGKILL)
    worker.join()  # SIGCHLD raises no error
    assert signal.getsignal(signal.SIGCHLD) is signal.SIG_DFL
    with pytest.raises(WorkerDiedError, match='a data worker was killed'):
        list(batches)


@pytest.mark.slow
def test_hanging_worker_is_killed():
    batches = iter(TrainDataLoader(DataLoader(Hanging(), num_workers=1, batch_size=None)))
    (worker,) = multiprocessing.active_children()
    time.sleep(0.5)
    worker._popen.terminate()  # as multiprocessing does at exit
    worker.join(5)
    assert worker.exitcode == -signal.SIGKILL
    with pytest.raises(WorkerDiedError):
        next(batches)


class Hanging(Broken):
    def __getitem__(self, index: int) -> int:
        time.sleep(1000)
        return index


class Sharing(Dataset):
    """Dataset that returns the address at which its worker sends file descriptors of shared memory."""

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> str:
        address, _ = resource_sharer.DupFd(0)._id
        return address


def test_worker_prints_nothing_when_the_main_process_disconnects(capfd: pytest.CaptureFixture[str]):
    """The main process disconnects if another worker is killed while this one sends a batch."""
    batches = iter(TrainDataLoader(DataLoader(Sharing(), num_workers=1, batch_size=None)))
    address = next(batches)
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(address)
    # the worker accepts this connection after it has handled the first one
    Client(address, authkey=multiprocessing.current_process().authkey).close()
    assert capfd.readouterr().err == ''


def test_dataset_error_is_raised_unchanged():
    batches = iter(TrainDataLoader(DataLoader(Broken(ConnectionResetError('the camera is gone')), num_workers=1)))
    with pytest.raises(ConnectionResetError, match='the camera is gone'):
        next(batches)
