"""Reading and writing checkpoints: corrupt files, other files, failed writes."""

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


@pytest.fixture(params=[True, False], ids=['zip', 'legacy'])
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    torch.save(CONTENT, tmp_path / 'a.pth', _use_new_zipfile_serialization=request.param)
    assert equal(read_checkpoint(tmp_path / 'a.pth'))
    return tmp_path / 'a.pth'


def test_truncated_file_is_refused(path: Path):
    content = path.read_bytes()
    for length in range(0, len(content), 7):
        path.write_bytes(content[:length])
        with pytest.raises(InputError, match=r"cannot read checkpoint '.*a\.pth': corrupt or not a checkpoint"):
            read_checkpoint(path)


def test_changed_byte_is_refused_or_harmless(path: Path):
    """Files with checksums are refused or read correctly; for legacy files the only error is InputError."""
    original, rng = path.read_bytes(), random.Random(0)
    has_checksums = original.startswith(b'PK')
    refused = 0
    for _ in range(300):
        position, value = rng.randrange(len(original)), rng.randrange(256)
        path.write_bytes(original[:position] + bytes([value]) + original[position + 1 :])
        try:
            content = read_checkpoint(path)
        except InputError:
            refused += 1
        else:
            assert not has_checksums or equal(content)
    assert refused > 100


def test_other_files_are_refused(tmp_path: Path):
    path = tmp_path / 'a.state'
    for first in range(256):
        for rest in (b' hello world\n', bytes(20), b'\x04\x95' + bytes(30)):
            path.write_bytes(bytes([first]) + rest)
            with pytest.raises(InputError, match='corrupt or not a checkpoint'):
                read_checkpoint(path)
    torch.save([1, 2], path)
    with pytest.raises(InputError, match='got list, expected a dictionary'):
        read_checkpoint(path)
    torch.save({'params': print}, path)  # torch's message recommends to execute the code
    with pytest.raises(InputError, match=r'\(it contains Python objects, which could execute code\)$'):
        read_checkpoint(path)


def test_failed_write_leaves_existing_file_unchanged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    write_checkpoint(tmp_path / 'a.pth', CONTENT)

    def disk_full(*_: object) -> None:
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr('os.fsync', disk_full)
    with pytest.raises(WriteError, match=r"cannot write '.*a\.pth' \(No space left on device\): the existing file"):
        write_checkpoint(tmp_path / 'a.pth', {'params': {}})
    monkeypatch.undo()
    assert equal(read_checkpoint(tmp_path / 'a.pth')) and [p.name for p in tmp_path.iterdir()] == ['a.pth']
    (tmp_path / 'file').touch()
    with pytest.raises(WriteError, match='check the permissions'):
        write_checkpoint(tmp_path / 'file' / 'a.pth', CONTENT)


def test_file_system_without_folder_flush(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    flush = os.fsync

    def files_only(descriptor: int) -> None:
        if os.path.isdir(f'/proc/self/fd/{descriptor}'):
            raise OSError(22, 'Invalid argument')
        flush(descriptor)

    monkeypatch.setattr(os, 'fsync', files_only)
    write_checkpoint(tmp_path / 'a.pth', CONTENT)
    assert equal(read_checkpoint(tmp_path / 'a.pth'))
