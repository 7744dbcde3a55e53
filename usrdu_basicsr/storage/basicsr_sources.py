"""What BasicSR's own datasets will read: `PairedImageDataset` and `SingleImageDataset`."""

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
    """The images that one of these datasets will take for a `dataroot_*`.

    Of pairs, a list names the HR photos alone. BasicSR takes no list for LMDBs, reads a list's names up to the first
    blank, and every file of a folder without one.

    Raises:
        InputNotFoundError: There is no such folder, LMDB or list.
        InputError: It is empty, or holds a file, or the list a name, that BasicSR would fail on.
    """
    list_file = list_of(dataset)
    listed = list_file is not None and not (dataset['type'] == PAIRED and option == 'dataroot_lq')
    source = open_source(dataset[option], IMAGE, list_file if listed else None)
    if not isinstance(source, FolderSource):
        return source
    if listed:
        if blanks := [name for name in source.names.tolist() if ' ' in name]:
            raise InputError(
                f"'{list_file}' names {blanks[0]!r}: {dataset['type']} reads no names with blanks; rename it"
            )
    elif list_file is None:
        files = sorted(path.name for path in source.root.iterdir() if path.is_file() and path.name[0] != '.')
        if others := [name for name in files if Path(name).suffix.lower() not in IMAGE.extensions]:
            raise InputError(
                f"folder '{source.root}' holds {others[0]!r}, which {dataset['type']} would read as an image: move it"
                ' elsewhere'
            )
    return source


def list_of(dataset: Mapping[str, Any]) -> str | None:
    """The `meta_info_file` that one of these datasets reads."""
    backend = (dataset.get('io_backend') or {}).get('type', 'disk')
    return dataset.get('meta_info_file') if backend == 'disk' else None


def paired_names(source: Source, template: str) -> list[str]:
    """What BasicSR matches pairs by: file names, changed by `filename_tmpl`, or the keys of an LMDB."""
    if isinstance(source, FolderSource):
        return [f'{template.format(Path(name).stem)}{Path(name).suffix}' for name in source.names.tolist()]
    return source.stems()
