"""Checkpoint files that are damaged or something else."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest
import torch

from usrdu_basicsr.utils.checkpoint import read_checkpoint, write_checkpoint
from usrdu_basicsr.utils.errors import InputError, WriteError

CONTENT = {'params': {'weight': torch.arange(100.0)}, 'iter': 5, 'rates': [1e-4, 2e-4]}


def equal(content: dict) -> bool:
    weight = torch.equal(content['params']['weight'], CONTENT['params']['weight'])
    return weight and content['iter'] == 5 and content['rates'] == [1e-4, 2e-4]


@pytest.fixture(params=[True, False], ids=['zip', 'before zip'])
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    torch.save(CONTENT, tmp_path / 'a.pth', _use_new_zipfile_serialization=request.param)
    assert equal(read_checkpoint(tmp_path / 'a.pth'))
    return tmp_path / 'a.pth'


def test_cut_off_anywhere(path: Path):
    whole = path.read_bytes()
    for length in range(0, len(whole), 7):
        path.write_bytes(whole[:length])
        with pytest.raises(InputError, match=r"cannot read checkpoint '.*a\.pth': it is damaged or not a checkpoint"):
            read_checkpoint(path)


def test_changed_anywhere(path: Path):
    """What is read all the same is what was written, in files with checksums; in those before, no other error comes."""
    whole, with_sums, numbers = path.read_bytes(), path.read_bytes().startswith(b'PK'), random.Random(0)
    refused = 0
    for _ in range(300):
        place, value = numbers.randrange(len(whole)), numbers.randrange(256)
        path.write_bytes(whole[:place] + bytes([value]) + whole[place + 1 :])
        try:
            content = read_checkpoint(path)
        except InputError:
            refused += 1
        else:
            assert not with_sums or equal(content)
    assert refused > 100


def test_something_else(tmp_path: Path):
    path = tmp_path / 'a.state'
    for first in range(256):
        for rest in (b' hello world\n', bytes(20), b'\x04\x95' + bytes(30)):
            path.write_bytes(bytes([first]) + rest)
            with pytest.raises(InputError, match='is damaged or not a checkpoint'):
                read_checkpoint(path)
    torch.save([1, 2], path)
    with pytest.raises(InputError, match='holds a list, expected a dictionary'):
        read_checkpoint(path)
    torch.save({'params': print}, path)  # torch's own message is how to run it all the same
    with pytest.raises(InputError, match=r'\(it holds more than tensors and plain values, which might run code\)$'):
        read_checkpoint(path)


def test_a_failed_write_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    write_checkpoint(tmp_path / 'a.pth', CONTENT)

    def full(*_: object) -> None:
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr('os.fsync', full)
    with pytest.raises(WriteError, match=r"cannot write '.*a\.pth' \(No space left on device\): what was there before"):
        write_checkpoint(tmp_path / 'a.pth', {'params': {}})
    monkeypatch.undo()
    assert equal(read_checkpoint(tmp_path / 'a.pth')) and [p.name for p in tmp_path.iterdir()] == ['a.pth']
    (tmp_path / 'file').touch()
    with pytest.raises(WriteError, match='see to permissions'):
        write_checkpoint(tmp_path / 'file' / 'a.pth', CONTENT)


def test_file_systems_that_do_not_flush_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    flush = os.fsync

    def files_only(descriptor: int) -> None:
        if os.path.isdir(f'/proc/self/fd/{descriptor}'):
            raise OSError(22, 'Invalid argument')
        flush(descriptor)

    monkeypatch.setattr(os, 'fsync', files_only)
    write_checkpoint(tmp_path / 'a.pth', CONTENT)
    assert equal(read_checkpoint(tmp_path / 'a.pth'))
