"""Pack folders of images, or of log-scales, into LMDBs."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from tqdm import tqdm

from usrdu_basicsr.data_preparation.pack_settings import DEFAULTS, PackingSettings
from usrdu_basicsr.data_preparation.process_pool import map_in_processes
from usrdu_basicsr.storage.check_all import check_all
from usrdu_basicsr.storage.folder_source import FolderSource
from usrdu_basicsr.storage.formats import IMAGE, LOG_SCALE, Format
from usrdu_basicsr.storage.generated_set import DESCRIPTION, LOG_SCALE_FOLDER, LR_FOLDER
from usrdu_basicsr.storage.lmdb_writer import LmdbWriter, Value, check_key
from usrdu_basicsr.storage.meta_info import META_INFO
from usrdu_basicsr.storage.open_source import LMDB_SUFFIX, lmdb_beside, open_source
from usrdu_basicsr.utils.errors import InputError
from usrdu_basicsr.utils.files import atomic_dir, check_overwrite, input_folder, read_bytes
from usrdu_basicsr.utils.images import encode_png


class Job(NamedTuple):
    """One folder and the LMDB to make of it."""

    source: FolderSource
    target: Path


def create_lmdbs(
    inputs: Sequence[str | Path],
    output: str | Path | None = None,
    pair: bool = False,
    settings: PackingSettings = DEFAULTS,
) -> list[Path]:
    """Pack folders into LMDBs that BasicSR's datasets and ours read; each is there whole or not at all.

    Images are stored as PNG, decoded as `read_image` decodes them, so that they are the same pixels from either; maps
    of log-scales as they are.

    Args:
        inputs: Folders of images; folders of generated sets, of which `lr` and `log_scale` are packed, as a pair.
        output: The LMDB, where there is one input that is no set; by default each is `FOLDER.lmdb` beside the folder.
        pair: All folders must hold the same names.
        settings: How to pack.

    Returns:
        The LMDBs.

    Raises:
        InputNotFoundError: A folder does not exist.
        InputError: A folder is empty, an image cannot be used, names do not match or clash, an LMDB is there already.
    """
    jobs: list[Job] = []
    for folder in map(input_folder, inputs):
        jobs += _jobs(folder, None if output is None else Path(output))
    for job in jobs:
        check_overwrite(job.target, META_INFO, settings.overwrite)
        _match(jobs[0].source if pair else job.source, job.source)
        for stem in job.source.stems():
            check_key(stem)
        check_all(len(job.source), job.source.size)
    for job in jobs:
        _pack(job, settings)
    return [job.target for job in jobs]


def _jobs(folder: Path, output: Path | None) -> list[Job]:
    """What to pack of an input."""
    if (folder / DESCRIPTION).is_file():
        if output is not None:
            raise InputError(f"'{folder}' is a generated set, of which two LMDBs are made beside its folders: drop -o")
        pair = [_job(folder / name, None, kind) for name, kind in ((LR_FOLDER, IMAGE), (LOG_SCALE_FOLDER, LOG_SCALE))]
        _match(pair[0].source, pair[1].source)
        return pair
    extensions = {path.suffix.lower() for path in folder.iterdir()}
    holds_maps = LOG_SCALE.extensions & extensions and not IMAGE.extensions & extensions
    return [_job(folder, output, LOG_SCALE if holds_maps else IMAGE)]


def _match(one: FolderSource, other: FolderSource) -> None:
    """Refuse folders of different names; of one and the same folder, names that clash."""
    one.partners(other)
    other.partners(one)


def _job(folder: Path, output: Path | None, file_format: Format) -> Job:
    target = lmdb_beside(folder) if output is None else output
    if target.suffix != LMDB_SUFFIX:
        raise InputError(f"output '{target}': the name of an LMDB ends in {LMDB_SUFFIX}")
    source = open_source(folder, file_format)
    if not isinstance(source, FolderSource):
        raise InputError(f"'{folder}' is an LMDB already")
    return Job(source, target)


def _pack(job: Job, settings: PackingSettings) -> None:
    source = job.source
    paths = [source.path(index) for index in range(len(source))]
    encode = partial(encode_file, file_format=source.format, compression=settings.compression)
    with atomic_dir(job.target, META_INFO, settings.overwrite) as folder, LmdbWriter(folder) as writer:
        values = map_in_processes(encode, paths, settings.workers)
        progress = tqdm(values, job.target.name, len(paths), unit=' files')
        for stem, value in zip(source.stems(), progress, strict=True):
            writer.put(stem, value)


def encode_file(path: Path, file_format: Format, compression: int) -> Value:
    """A file as it stands in an LMDB.

    Raises:
        InputError: It is damaged, or its depth does not fit into a PNG.
    """
    content = read_bytes(path)
    array = file_format.decode(content, str(path))
    if file_format == LOG_SCALE:
        return Value(content, array.shape, '.npy', 0)
    return Value(encode_png(array, str(path), compression), array.shape, '.png', compression)
