"""Images that BasicSR's `PairedImageDataset` and `SingleImageDataset` read."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from usrdu_basicsr.storage.folder_source import FolderSource
from usrdu_basicsr.storage.formats import IMAGE
from usrdu_basicsr.storage.open_source import open_source
from usrdu_basicsr.storage.source import Source
from usrdu_basicsr.utils.errors import InputError

PAIRED = 'PairedImageDataset'


def open_basicsr_source(dataset: Mapping[str, Any], option: str) -> Source:
    """Open the images that BasicSR's dataset reads from a `dataroot_*`.

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
                f"meta info '{meta_info_file}': {dataset['type']} cannot read names with spaces such as {names[0]!r}:"
                ' rename it'
            )
    elif meta_info_file is None:
        files = sorted(path.name for path in source.root.iterdir() if path.is_file() and path.name[0] != '.')
        if others := [name for name in files if Path(name).suffix.lower() not in IMAGE.extensions]:
            raise InputError(
                f"folder '{source.root}' contains {others[0]!r}, which {dataset['type']} reads as an image: move it"
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
