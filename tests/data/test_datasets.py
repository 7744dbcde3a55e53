"""Datasets: what they return, value by value, and what they refuse."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import socket
import struct
import zlib
from collections.abc import Iterator
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
from usrdu_basicsr.utils.errors import InputError, InputNotFoundError
from usrdu_basicsr.utils.images import decode_image


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    write_sample_images(tmp_path / 'hr', 3)
    write_sample_images(tmp_path / 'camera', 2, 24, 40)
    downsample_images(tmp_path / 'hr', tmp_path / 'set' / 'lr')
    (tmp_path / 'set' / 'log_scale').mkdir()
    for path in (tmp_path / 'set' / 'lr').iterdir():
        # log-scales that follow the image, so that crops and flips can be compared
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


def find(crop: torch.Tensor, path: str) -> bool:
    """Whether a crop, turned back in some way, stands in the photo."""
    image = torch.from_numpy(cv2.imread(path)[..., ::-1].copy()).permute(2, 0, 1).float() / 255
    size = crop.shape[-1]
    windows = image.unfold(1, size, 1).unfold(2, size, 1)  # (3, rows, columns, size, size)
    for turns in range(4):
        for flipped in (crop, crop.flip(-1)):
            turned = torch.rot90(flipped, turns, (-2, -1))
            if (windows - turned[:, None, None]).abs().amax((0, 3, 4)).min() < 1e-6:
                return True
    return False


def test_unpaired_items_are_crops_of_the_photos(folders: Path):
    dataset = build_dataset(unpaired(folders))
    assert len(dataset) == 2
    hr_seen = set()
    for i in range(20):
        item = dataset[i % 2]
        assert item['gt'].shape == (3, 64, 64) and item['lq'].shape == (3, 16, 16)
        assert item['lq_path'] == dataset.lq.name(i % 2)
        hr_seen.add(item['gt_path'])
        if i < 4:
            assert find(item['gt'], item['gt_path']) and find(item['lq'], item['lq_path'])
    assert len(hr_seen) == 3


def test_generated_items_belong_together(folders: Path):
    dataset = build_dataset(generated(folders))
    assert len(dataset) == 3
    for i in range(6):
        item = dataset[i % 3]
        assert item['gt'].shape == (3, 64, 64)
        assert item['lq'].shape == item['log_scale'].shape == (3, 16, 16)
        torch.testing.assert_close(item['lq'], item['log_scale'], atol=5e-4, rtol=0)  # float16, and still RGB
        assert find(item['gt'], item['gt_path'])
        # area reduction of the crop is the crop of the area reduction
        reduced = torch.nn.functional.avg_pool2d(item['gt'], 4)
        torch.testing.assert_close(item['lq'], reduced, atol=1 / 255, rtol=0)


def test_hr_alone_in_training_and_whole_otherwise(folders: Path):
    write_sample_images(folders / 'odd', 1, 97, 110)
    training = build_dataset(unpaired(folders, type='HRImageDataset', dataroot_lq=None))[0]
    assert set(training) == {'gt', 'gt_path'} and training['gt'].shape == (3, 64, 64)
    whole = build_dataset(unpaired(folders, type='HRImageDataset', dataroot_gt=str(folders / 'odd'), phase='val'))[0]
    assert whole['gt'].shape == (3, 96, 108)
    image = torch.from_numpy(cv2.imread(whole['gt_path'])[:96, :108, ::-1].copy()).permute(2, 0, 1) / 255
    torch.testing.assert_close(whole['gt'], image)


def test_an_hr_photo_of_odd_size_loses_its_rest(folders: Path):
    write_sample_images(folders / 'hr', 1, 99, 113)  # 24 x 28 LR pixels, as before
    dataset = build_dataset(generated(folders, phase='val'))
    assert dataset[0]['gt'].shape == (3, 96, 112) and dataset[0]['lq'].shape == (3, 24, 28)


def break_file(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:20])


@pytest.mark.parametrize(
    ('change', 'options', 'error', 'message'),
    [
        (None, {'dataroot_gt': 'nowhere'}, InputNotFoundError, "no folder 'nowhere'"),
        (lambda f: (f / 'empty').mkdir(), {'dataroot_lq': '{}/empty'}, InputError, 'empty.*holds no image'),
        (
            None,
            {'gt_size': 128},
            InputError,
            r'astronaut.png.*: 96x112 pixels are too few for .*128x128.* \(2 more cannot be used either\)',
        ),
        (None, {'gt_size': 66}, InputError, 'gt_size 66 is not a multiple of scale 4'),
        (lambda f: break_file(f / 'camera' / 'chelsea.png'), {}, InputError, r"cannot read image '.*chelsea\.png'"),
        (lambda f: (f / 'hr' / 'text.jpg').write_text('no image'), {}, InputError, "cannot read image '.*text.jpg'"),
        (lambda f: (f / 'hr' / 'zero.png').touch(), {}, InputError, "cannot read image '.*zero.png'"),
        (None, {'phase': 'val'}, InputError, 'UnpairedImageDataset is for training'),
        (None, {'on_bad_image': 'ignore'}, InputError, "on_bad_image is 'ignore', expected stop or skip"),
        (None, {'epoch_over': 'hr'}, InputError, "epoch_over is 'hr', expected lq or gt"),
    ],
)
def test_bad_unpaired_data(folders: Path, change, options: dict, error: type, message: str):
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
        (lambda f: set_description(f, json.dumps({'scale': 2})), InputError, 'has scale 2, the options say 4'),
        (lambda f: set_description(f, '{'), InputError, r'generation.json. is not JSON'),
        (lambda f: set_description(f, '[]'), InputError, r'generation.json. says no scale'),
        (lambda f: set_description(f, '{}'), InputError, r'generation.json. says no scale'),
        (lambda f: (f / 'set/lr/coffee.png').unlink(), InputError, r"coffee.png'.* in '.*lr'; run scripts/generate_lr"),
        (lambda f: (f / 'set/log_scale/coffee.npy').unlink(), InputError, r"coffee.png': no partner .*log_scale'"),
        (
            lambda f: write_sample_images(f / 'set/lr', 1, 20, 28),
            InputError,
            r'\(20, 28\) pixels .* expected \(24, 28\)',
        ),
    ],
)
def test_bad_generated_set(folders: Path, change, error: type, message: str):
    change(folders)
    with pytest.raises(error, match=message):
        build_dataset(generated(folders))


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        (np.zeros((24, 28)), r'not floats of shape \(H, W, 3\)'),
        (np.zeros((24, 28, 3), np.int16), 'not floats'),
        (np.zeros((24, 28, 3), order='F'), 'not floats'),
        (np.full((24, 28, 3), None), 'not floats'),
        (np.zeros((2, 2, 3)), r'\(2, 2\) pixels .* expected \(24, 28\)'),
        (None, 'cannot read log-scales'),
    ],
)
def test_bad_log_scales(folders: Path, content: np.ndarray | None, message: str):
    path = folders / 'set' / 'log_scale' / 'astronaut.npy'
    if content is None:
        path.write_bytes(path.read_bytes()[:-10])
    else:
        np.save(path, content)
    with pytest.raises(InputError, match=message):
        build_dataset(generated(folders))


def test_a_photo_that_breaks_during_training_is_named(folders: Path):
    opt = unpaired(folders, num_worker_per_gpu=1)
    dataset = build_dataset(opt)
    for path in (folders / 'camera').iterdir():
        path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(InputError, match=r"cannot read image '.*.png'"):
        next(iter(build_dataloader(dataset, opt, num_gpu=0, seed=0)))


def test_an_epoch_over_either_side_draws_the_other(folders: Path):
    for side, count, others in (('lq', 2, 3), ('gt', 3, 2)):
        dataset = build_dataset(unpaired(folders, epoch_over=side))
        assert len(dataset) == count
        items = [dataset[i % count] for i in range(24)]
        assert [Path(item[f'{side}_path']).name for item in items[:count]] == sorted(
            {Path(item[f'{side}_path']).name for item in items}
        )
        # each of one side meets each of the other
        assert len({(item['gt_path'], item['lq_path']) for item in items}) == count * others


def skipping(folders: Path, **changes: object) -> dict:
    return unpaired(folders, on_bad_image='skip', **changes)


def test_bad_images_at_the_start_are_left_out_and_counted(folders: Path, caplog: pytest.LogCaptureFixture):
    break_file(folders / 'hr' / 'chelsea.png')
    write_sample_images(folders / 'hr', 1, 40, 40)  # too small for a crop
    dataset = build_dataset(skipping(folders))
    assert dataset.gt_policy.bad == 2 and dataset.lq_policy.bad == 0
    assert {Path(dataset[i % 2]['gt_path']).name for i in range(20)} == {'coffee.png'}
    assert "chelsea.png': it is damaged or not an image; replace or remove it; left out" in caplog.text
    assert '40x40 pixels are too few' in caplog.text and '2 of 3 so far' in caplog.text
    break_file(folders / 'hr' / 'coffee.png')
    with pytest.raises(InputError, match='all 3 images are bad'):
        build_dataset(skipping(folders))


@pytest.mark.parametrize(('method', 'workers'), [('fork', 2), ('spawn', 1)])
def test_bad_images_found_by_workers_are_left_out_by_all(folders: Path, method: str, workers: int):
    opt = skipping(folders, num_worker_per_gpu=workers, batch_size_per_gpu=1)
    dataset = build_dataset(opt)
    (folders / 'camera' / 'astronaut.png').unlink()
    (folders / 'hr' / 'coffee.png').write_text('no image any more')
    sampler = EnlargedSampler(dataset, 1, 0, 16)
    loader = DataLoader(dataset, 2, sampler=sampler, num_workers=workers, multiprocessing_context=method)
    seen = [path for batch in loader for path in (*batch['lq_path'], *batch['gt_path'])]
    assert len(seen) == 64
    assert {Path(path).name for path in seen if 'camera' in path} == {'chelsea.png'}
    assert 'coffee.png' not in {Path(path).name for path in seen}
    assert dataset.lq_policy.bad == 1 and dataset.gt_policy.bad == 1


def test_a_generated_set_without_a_damaged_part(folders: Path):
    opt = generated(folders, on_bad_image='skip')
    dataset = build_dataset(opt)
    np.save(folders / 'set' / 'log_scale' / 'astronaut.npy', np.zeros((5, 5, 3), np.float16))
    write_sample_images(folders / 'hr', 1, 48, 48)  # changed since the start
    assert {Path(dataset[0]['gt_path']).name for _ in range(20)} == {'chelsea.png', 'coffee.png'}
    assert dataset.usable.bad == 1
    with pytest.raises(InputError, match=r'astronaut.png.*expected \(12, 12\)'):
        build_dataset(generated(folders))


def test_only_what_a_list_names_is_taken(folders: Path):
    (folders / 'hr' / 'with space').mkdir()
    write_sample_images(folders / 'hr' / 'with space', 1)
    (folders / 'hr.txt').write_text('with space/astronaut.png (96,112,3) 1\n\ncoffee.png\n')
    (folders / 'lq.txt').write_text('chelsea.png (24,40,3)\n')
    opt = unpaired(folders, meta_info_file=str(folders / 'hr.txt'), meta_info_file_lq=str(folders / 'lq.txt'))
    dataset = build_dataset(opt)
    assert dataset.gt.stems() == ['with space/astronaut', 'coffee'] and dataset.lq.stems() == ['chelsea']
    item = dataset[0]
    assert find(item['gt'], item['gt_path'])
    (folders / 'lq.txt').write_text('chelsea.png\nrocket.png\n')
    with pytest.raises(InputError, match=r"cannot read '.*rocket.png'.*No such file"):
        build_dataset(opt)
    dataset = build_dataset(opt | {'on_bad_image': 'skip'})
    assert dataset.lq_policy.bad == 1 and Path(dataset[1]['lq_path']).name == 'chelsea.png'
    with pytest.raises(InputNotFoundError, match="no meta info 'nowhere'"):
        build_dataset(opt | {'meta_info_file': 'nowhere'})


def test_validation_photos_are_looked_over_before_a_run(folders: Path):
    (folders / 'hr' / 'coffee.png').write_bytes(b'')
    opt = unpaired(folders, type='HRImageDataset', phase='val')
    with pytest.raises(InputError, match=r"cannot read image '.*coffee.png'"):
        build_dataset(opt)


def test_log_scales_that_are_not_finite_are_named(folders: Path):
    path = folders / 'set' / 'log_scale' / 'chelsea.npy'
    np.save(path, np.full((24, 28, 3), np.nan, np.float16))
    with pytest.raises(InputError, match=r"chelsea.npy' hold values that are not finite"):
        build_dataset(generated(folders))[1]


def test_an_error_of_several_lines_is_told_in_one():
    header = b'IHDR' + struct.pack('>IIBBBBB', 40000, 40000, 8, 2, 0, 0, 0)
    content = b'\x89PNG\r\n\x1a\n' + struct.pack('>I', 13) + header + struct.pack('>I', zlib.crc32(header))
    with pytest.raises(InputError, match="cannot read image 'huge'") as raised:
        decode_image(content, 'huge')
    assert '\n' not in str(raised.value)


class Broken(Dataset):
    """Raises what a dataset of the user's may raise."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> int:
        if self.error is not None:
            raise self.error
        return index


class BrokenConnection(DataLoader):
    def __iter__(self):
        yield 0
        raise ConnectionResetError(104, 'Connection reset by peer')


def test_a_broken_connection_to_a_data_worker_is_told_as_its_end():
    batches = iter(TrainDataLoader(BrokenConnection(Broken())))
    assert next(batches) == 0
    with pytest.raises(RuntimeError, match=r'^DataLoader worker \(pid unknown\) exited unexpectedly$'):
        next(batches)


@pytest.fixture
def told() -> Iterator[list[int]]:
    """Signals that a handler of SIGCHLD got, which raises as torch's does when a data worker died."""
    numbers = []

    def report(number: int, _: object) -> None:
        numbers.append(number)
        raise RuntimeError('DataLoader worker (pid 7) is killed by signal: Killed.')

    previous = signal.signal(signal.SIGCHLD, report)
    yield numbers
    signal.signal(signal.SIGCHLD, previous)


class Deadly(DataLoader):
    def __init__(self, at_start: bool) -> None:
        super().__init__(Broken())
        self.at_start = at_start

    def __iter__(self):
        if self.at_start:
            os.kill(os.getpid(), signal.SIGCHLD)
        return self.batches()

    def batches(self):
        yield 0
        os.kill(os.getpid(), signal.SIGCHLD)
        yield 1


def test_a_data_workers_death_is_raised_where_a_batch_is_waited_for(told: list[int]):
    batches = iter(TrainDataLoader(Deadly(at_start=False)))
    os.kill(os.getpid(), signal.SIGCHLD)  # raises nothing here
    assert told == [signal.SIGCHLD]
    with pytest.raises(RuntimeError, match=r'pid 7\) is killed'):
        next(batches)
    batches = iter(TrainDataLoader(Deadly(at_start=False)))
    assert next(batches) == 0
    with pytest.raises(RuntimeError, match=r'pid 7\) is killed'):
        next(batches)
    os.kill(os.getpid(), signal.SIGCHLD)
    assert len(told) == 3
    with pytest.raises(RuntimeError, match=r'pid 7\) is killed'):
        iter(TrainDataLoader(DataLoader(Broken())))


def test_a_data_workers_death_is_raised_while_an_epoch_begins(told: list[int]):
    with pytest.raises(RuntimeError, match=r'pid 7\) is killed'):
        iter(TrainDataLoader(Deadly(at_start=True)))


class Sharing(Dataset):
    """Gives the address where its worker hands over what is in shared memory."""

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> str:
        address, _ = resource_sharer.DupFd(0)._id
        return address


def test_a_data_worker_is_silent_when_the_main_process_hangs_up(capfd: pytest.CaptureFixture[str]):
    """As it does when another worker is killed while this one hands over a batch."""
    batches = iter(TrainDataLoader(DataLoader(Sharing(), num_workers=1, batch_size=None)))
    address = next(batches)
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(address)
    Client(address, authkey=multiprocessing.current_process().authkey).close()  # answered when that is over
    assert capfd.readouterr().err == ''


def test_an_error_of_the_dataset_is_passed_on_as_it_is():
    batches = iter(TrainDataLoader(DataLoader(Broken(ConnectionResetError('the camera is gone')), num_workers=1)))
    with pytest.raises(ConnectionResetError, match='the camera is gone'):
        next(batches)
