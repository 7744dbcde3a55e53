"""Pack folders of images or log-scale maps into LMDBs."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from tqdm import tqdm

from usrdu_basicsr.data_preparation.packing import DEFAULT_PACKING, PackingSettings, encode_value
from usrdu_basicsr.data_preparation.process_pool import map_in_processes
from usrdu_basicsr.storage.generated_set import DESCRIPTION, LOG_SCALE_FOLDER, LR_FOLDER
from usrdu_basicsr.storage.lmdb_writer import LmdbWriter, Value, check_key
from usrdu_basicsr.storage.meta_info import META_INFO
from usrdu_basicsr.storage.open_source import LMDB_SUFFIX, default_lmdb_path, open_source
from usrdu_basicsr.storage.pairs import partner_indices
from usrdu_basicsr.storage.source import IMAGE, LOG_SCALE, FolderSource, Format, check_all
from usrdu_basicsr.utils.errors import InputError
from usrdu_basicsr.utils.files import atomic_dir, check_overwrite, input_folder, read_bytes


class PackingJob(NamedTuple):
    """Folder to pack and path of its LMDB."""

    source: FolderSource
    output: Path


def create_lmdbs(
    inputs: Sequence[str | Path],
    output: str | Path | None = None,
    pair: bool = False,
    settings: PackingSettings = DEFAULT_PACKING,
) -> list[Path]:
    """Pack folders into LMDBs that BasicSR's and this package's datasets read. Each LMDB is written atomically.

    Images are stored as PNG with the pixels that `read_image` returns for the file, in the bit depth of the file.
    Log-scale maps are stored as `.npy` files.

    Args:
        inputs: Folders of images or log-scale maps, or generated sets, whose `lr` and `log_scale` are packed as a pair.
        output: Path of the LMDB if there is one input that is not a generated set. By default, each LMDB is
            `FOLDER.lmdb` in the same parent folder.
        pair: Require the same file names (without extension) in all folders.
        settings: Number of processes, compression and overwriting.

    Returns:
        Paths of the LMDBs.

    Raises:
        InputNotFoundError: If a folder does not exist.
        InputError: If a folder is empty, an image is unreadable, names do not match or are not unique, or an LMDB
            already exists.
    """
    jobs: list[PackingJob] = []
    for folder in map(input_folder, inputs):
        jobs += _jobs(folder, None if output is None else Path(output))
    for job in jobs:
        check_overwrite(job.output, META_INFO, settings.overwrite)
        _check_names(jobs[0].source if pair else job.source, job.source)
        for stem in job.source.stems():
            check_key(stem)
        check_all(len(job.source), job.source.size)
    for job in jobs:
        _pack(job, settings)
    return [job.output for job in jobs]


def _jobs(folder: Path, output: Path | None) -> list[PackingJob]:
    """Jobs of one input folder: two for a generated set, otherwise one."""
    if (folder / DESCRIPTION).is_file():
        if output is not None:
            raise InputError(f"'{folder}' is a generated set, which is packed into two LMDBs. Remove -o")
        lr, log_scale = _job(folder / LR_FOLDER, None, IMAGE), _job(folder / LOG_SCALE_FOLDER, None, LOG_SCALE)
        _check_names(lr.source, log_scale.source)
        return [lr, log_scale]
    extensions = {path.suffix.lower() for path in folder.iterdir()}
    is_log_scale = LOG_SCALE.extensions & extensions and not IMAGE.extensions & extensions
    return [_job(folder, output, LOG_SCALE if is_log_scale else IMAGE)]


def _job(folder: Path, output: Path | None, file_format: Format) -> PackingJob:
    output = output or default_lmdb_path(folder)
    if output.suffix != LMDB_SUFFIX:
        raise InputError(f"output '{output}': expected a name that ends in {LMDB_SUFFIX}")
    source = open_source(folder, file_format)
    if not isinstance(source, FolderSource):
        raise InputError(f"'{folder}' is already an LMDB, expected a folder")
    return PackingJob(source, output)


def _check_names(first: FolderSource, second: FolderSource) -> None:
    """Refuse folders with different names, and names that are not unique within a folder."""
    partner_indices(first, second)
    partner_indices(second, first)


def _pack(job: PackingJob, settings: PackingSettings) -> None:
    source = job.source
    paths = [source.path(index) for index in range(len(source))]
    encode = partial(encode_file, file_format=source.format, compression=settings.compression)
    with atomic_dir(job.output, META_INFO, settings.overwrite) as folder, LmdbWriter(folder) as writer:
        values = map_in_processes(encode, paths, settings.workers)
        progress = tqdm(values, job.output.name, len(paths), unit=' files')
        for stem, value in zip(source.stems(), progress, strict=True):
            writer.put(stem, value)


def encode_file(path: Path, file_format: Format, compression: int) -> Value:
    """Decode a file and encode it for an LMDB.

    Raises:
        InputError: If the file is corrupt, or PNG does not support its data type.
    """
    return encode_value(file_format.decode(read_bytes(path), str(path)), str(path), file_format, compression)
