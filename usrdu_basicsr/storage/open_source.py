"""Open the folder, the listed files of a folder, or the LMDB that a `dataroot_*` option names."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from usrdu_basicsr.storage.lmdb_source import LmdbSource
from usrdu_basicsr.storage.meta_info import read_meta_info
from usrdu_basicsr.storage.source import IMAGE, FolderSource, Format, Source
from usrdu_basicsr.utils.errors import InputError
from usrdu_basicsr.utils.files import input_folder, list_files

LMDB_SUFFIX = '.lmdb'
PAIRED, SINGLE = 'PairedImageDataset', 'SingleImageDataset'


def default_lmdb_path(folder: Path) -> Path:
    """Path of the LMDB of a folder: `FOLDER.lmdb` in the same parent folder."""
    folder = folder if folder.name not in ('', '..') else folder.resolve()
    return folder.with_name(folder.name + LMDB_SUFFIX)


def open_source(root: str | Path, file_format: Format, meta_info_file: str | Path | None = None) -> Source:
    """Open a folder or an LMDB.

    Args:
        root: Folder, or an LMDB if the name ends in `.lmdb`.
        file_format: Format of its content.
        meta_info_file: List of names. Without it, all files are opened; files of a folder are sorted by name.

    Raises:
        InputNotFoundError: If the folder, LMDB or list does not exist.
        InputError: If nothing has this format, or an LMDB lacks a listed name. A listed file that is missing in a
            folder is reported when it is read.
    """
    root = Path(root).expanduser()
    listed = None if meta_info_file is None else list(read_meta_info(meta_info_file))
    if root.suffix == LMDB_SUFFIX:
        return LmdbSource(root, file_format, listed)
    folder = input_folder(root)
    if listed is None:
        listed = [path.name for path in list_files(folder, file_format.extensions, file_format.noun)]
    return FolderSource(folder, listed, file_format)


def open_basicsr_source(dataset: Mapping[str, Any], option: str) -> Source:
    """Open the images that BasicSR's `PairedImageDataset` or `SingleImageDataset` reads from a `dataroot_*`.

    The `meta_info_file` of pairs names HR images only. BasicSR ignores it for LMDBs, splits its names at the first
    space, and without it reads every file of a folder.

    Raises:
        InputNotFoundError: If the folder, LMDB or list does not exist.
        InputError: If it is empty, or contains a file or a name that BasicSR cannot read.
    """
    meta_info_file = meta_info_file_of(dataset)
    is_listed = meta_info_file is not None and not (dataset['type'] == PAIRED and option == 'dataroot_lq')
    source = open_source(dataset[option], IMAGE, meta_info_file if is_listed else None)
    if not isinstance(source, FolderSource):
        return source
    if is_listed:
        if names := [name for name in source.names.tolist() if ' ' in name]:
            raise InputError(
                f"meta info '{meta_info_file}': {dataset['type']} cannot read names with spaces such as {names[0]!r}."
                ' Rename the file'
            )
    elif meta_info_file is None:
        files = sorted(path.name for path in source.root.iterdir() if path.is_file() and path.name[0] != '.')
        if others := [name for name in files if Path(name).suffix.lower() not in IMAGE.extensions]:
            raise InputError(
                f"folder '{source.root}' contains {others[0]!r}, which {dataset['type']} reads as an image. Move it"
            )
    return source


def meta_info_file_of(dataset: Mapping[str, Any]) -> str | None:
    """Return the `meta_info_file` that BasicSR's dataset reads, or None."""
    backend = (dataset.get('io_backend') or {}).get('type', 'disk')
    return dataset.get('meta_info_file') if backend == 'disk' else None


def paired_names(source: Source, template: str) -> list[str]:
    """Names by which BasicSR matches pairs: file names changed by `filename_tmpl`, or LMDB keys."""
    if isinstance(source, FolderSource):
        return [f'{template.format(Path(name).stem)}{Path(name).suffix}' for name in source.names.tolist()]
    return source.stems()
