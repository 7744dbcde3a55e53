"""Pack folders of images or log-scale maps into LMDBs."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from tqdm import tqdm

from usrdu_basicsr.data_preparation.packing import DEFAULT_PACKING, PackingSettings, encode_value, open_folder
from usrdu_basicsr.data_preparation.process_pool import map_in_processes
from usrdu_basicsr.storage.generated_set import DESCRIPTION, LOG_SCALE_FOLDER, LR_FOLDER
from usrdu_basicsr.storage.lmdb_writer import LmdbWriter, Value, check_key
from usrdu_basicsr.storage.meta_info import META_INFO
from usrdu_basicsr.storage.open_source import LMDB_SUFFIX, default_lmdb_path
from usrdu_basicsr.storage.pairs import partner_indices
from usrdu_basicsr.storage.source import IMAGE, LOG_SCALE, FolderSource, Format, check_all
from usrdu_basicsr.utils.errors import InputError
from usrdu_basicsr.utils.files import atomic_dir, check_overwrite, input_folder, read_bytes


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
    sources = [source for folder in inputs for source in _open_input(input_folder(folder), output)]
    targets = [default_lmdb_path(source.root) if output is None else Path(output) for source in sources]
    for source, target in zip(sources, targets, strict=True):
        if target.suffix != LMDB_SUFFIX:
            raise InputError(f"output '{target}': expected a name that ends in {LMDB_SUFFIX}")
        check_overwrite(target, META_INFO, settings.overwrite)
        _check_names(sources[0] if pair else source, source)
        for stem in source.stems():
            check_key(stem)
        check_all(len(source), source.size)
    for source, target in zip(sources, targets, strict=True):
        _pack(source, target, settings)
    return targets


def _open_input(folder: Path, output: str | Path | None) -> list[FolderSource]:
    """Open the two folders of a generated set, or a folder of images or log-scale maps."""
    if (folder / DESCRIPTION).is_file():
        if output is not None:
            raise InputError(f"-o: '{folder}' is a generated set, which is packed into two LMDBs. Omit -o")
        lr, log_scale = open_folder(folder / LR_FOLDER, IMAGE), open_folder(folder / LOG_SCALE_FOLDER, LOG_SCALE)
        _check_names(lr, log_scale)
        return [lr, log_scale]
    extensions = {path.suffix.lower() for path in folder.iterdir()}
    is_log_scale = LOG_SCALE.extensions & extensions and not IMAGE.extensions & extensions
    return [open_folder(folder, LOG_SCALE if is_log_scale else IMAGE)]


def _check_names(first: FolderSource, second: FolderSource) -> None:
    """Refuse folders with different names, and names that are not unique within a folder."""
    partner_indices(first, second)
    partner_indices(second, first)


def _pack(source: FolderSource, target: Path, settings: PackingSettings) -> None:
    paths = [source.path(index) for index in range(len(source))]
    encode = partial(_encode_file, file_format=source.format, compression=settings.compression)
    with atomic_dir(target, META_INFO, settings.overwrite) as folder, LmdbWriter(folder) as writer:
        values = map_in_processes(encode, paths, settings.workers)
        progress = tqdm(values, target.name, len(paths), unit=' files')
        for stem, value in zip(source.stems(), progress, strict=True):
            writer.put(stem, value)


def _encode_file(path: Path, file_format: Format, compression: int) -> Value:
    array = file_format.decode(read_bytes(path), str(path))
    return encode_value(array, str(path), file_format, compression)
