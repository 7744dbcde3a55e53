"""Cut photos into tiles, so that a training step decodes a tile for each crop and not a photo."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
from tqdm import tqdm

from usrdu_basicsr.data_preparation.crop_subimages import Cut, crop_subimages
from usrdu_basicsr.data_preparation.pack_settings import DEFAULTS, PackingSettings
from usrdu_basicsr.data_preparation.process_pool import map_in_processes
from usrdu_basicsr.storage.check_all import check_all
from usrdu_basicsr.storage.folder_source import FolderSource
from usrdu_basicsr.storage.formats import IMAGE, LOG_SCALE, Format
from usrdu_basicsr.storage.generated_set import (
    LOG_SCALE_FOLDER,
    LR_FOLDER,
    check_lr_size,
    read_description,
    write_description,
)
from usrdu_basicsr.storage.lmdb_writer import LmdbWriter, Value
from usrdu_basicsr.storage.open_source import LMDB_SUFFIX, open_source
from usrdu_basicsr.utils.errors import InputError
from usrdu_basicsr.utils.files import atomic_dir, input_folder, write_text

HR_FOLDER = 'hr'
TILES = '.tiles.json'  # in every folder of tiles; hidden, as BasicSR reads all other files as images


class Layer(NamedTuple):
    """Files that are cut alike: HR photos, LR images or log-scales."""

    name: str
    """Of the folder of its tiles."""
    source: FolderSource
    reduction: int
    """HR pixels to one of its own."""
    indices: np.ndarray
    """In the source, of what belongs to each HR photo."""


class Sink(Protocol):
    """Where tiles go."""

    def put(self, name: str, value: Value) -> None:
        """Add a tile under a name without extension."""


class FolderSink:
    """A folder of tiles, made within `atomic_dir`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(exist_ok=True)

    def put(self, name: str, value: Value) -> None:
        (self.folder / f'{name}{value.extension}').write_bytes(value.content)


def extract_subimages(
    photos: str | Path, output: str | Path, crop: int, step: int, settings: PackingSettings = DEFAULTS
) -> int:
    """Cut the photos of a folder, each alone.

    Args:
        photos: Their folder.
        output: Folder of the tiles, or an LMDB of them, whose name ends in `.lmdb`; there whole or not at all.
        crop: Side of a tile, pixels. A photo that is smaller along a side is kept whole along it.
        step: From one tile to the next, pixels. Where the last does not end at the border, one more does.
        settings: How to pack.

    Returns:
        How many tiles there are.

    Raises:
        InputNotFoundError: The folder does not exist.
        InputError: It is empty, two of its files share a name, or an image cannot be used; the output is there already.
    """
    output = Path(output)
    hr = _folder(photos, IMAGE)
    layers = [_layer('', hr, 1, hr)]
    _check_files(layers, output)
    with atomic_dir(output, TILES, settings.overwrite) as temporary:
        with ExitStack() as stack:
            sinks = [_sink(temporary, output.suffix == LMDB_SUFFIX, stack)]
            count = _cut_all(layers, sinks, crop, step, settings)
        _describe(temporary, layers, crop, step, count)
    return count


def extract_generated_subimages(
    photos: str | Path,
    generated: str | Path,
    output: str | Path,
    crop: int,
    step: int,
    as_lmdb: bool = False,
    settings: PackingSettings = DEFAULTS,
) -> int:
    """Cut HR photos with their generated LR images and log-scales, such that the tiles are a generated set again.

    Args:
        photos: Folder of HR photos.
        generated: What `scripts/generate_lr.py` made of them.
        output: Gets `hr`, `lr`, `log_scale`, `generation.json` and `.tiles.json`; there whole or not at all.
        crop: Side of an HR tile, pixels, a multiple of the set's scale; see `extract_subimages`.
        step: From one HR tile to the next, a multiple of the scale.
        as_lmdb: Write `hr.lmdb`, `lr.lmdb` and `log_scale.lmdb` instead.
        settings: How to pack.

    Returns:
        How many HR tiles there are.

    Raises:
        InputNotFoundError: A folder does not exist.
        InputError: As `extract_subimages`; the set has no `generation.json`, or is not of these images; crop
            or step is not a multiple of the scale.
    """
    output, generated = Path(output), input_folder(generated)
    description = read_description(generated)
    if description is None:
        raise InputError(f"'{generated}' holds no generation.json: name the folder that scripts/generate_lr.py wrote")
    scale = description['scale']
    for name, value in (('crop', crop), ('step', step)):
        if value % scale:
            raise InputError(f'{name} {value} is not a multiple of scale {scale}, of which the set is')
    hr = _folder(photos, IMAGE)
    layers = [
        _layer(HR_FOLDER, hr, 1, hr),
        _layer(LR_FOLDER, _folder(generated / LR_FOLDER, IMAGE), scale, hr),
        _layer(LOG_SCALE_FOLDER, _folder(generated / LOG_SCALE_FOLDER, LOG_SCALE), scale, hr),
    ]
    _check_files(layers, output)
    with atomic_dir(output, TILES, settings.overwrite) as temporary:
        with ExitStack() as stack:
            suffix = LMDB_SUFFIX if as_lmdb else ''
            sinks = [_sink(temporary / f'{layer.name}{suffix}', as_lmdb, stack) for layer in layers]
            count = _cut_all(layers, sinks, crop, step, settings)
        _describe(temporary, layers, crop, step, count)
        write_description(temporary, description | {'count': count})
    return count


def _folder(folder: str | Path, file_format: Format) -> FolderSource:
    source = open_source(folder, file_format)
    if not isinstance(source, FolderSource):
        raise InputError(f"'{folder}' is an LMDB: tiles are cut from folders")
    return source


def _layer(name: str, source: FolderSource, reduction: int, hr: FolderSource) -> Layer:
    return Layer(name, source, reduction, hr.partners(source))


def _sink(path: Path, as_lmdb: bool, stack: ExitStack) -> Sink:
    return stack.enter_context(LmdbWriter(path)) if as_lmdb else FolderSink(path)


def _describe(folder: Path, layers: list[Layer], crop: int, step: int, count: int) -> None:
    tiles = {'crop': crop, 'step': step, 'photos': len(layers[0].source), 'tiles': count}
    write_text(folder / TILES, json.dumps(tiles, indent=2) + '\n')


def _check_files(layers: list[Layer], output: Path) -> None:
    """Refuse unreadable files, sizes that do not fit, and an output that would replace what is cut."""
    for layer in layers:
        if layer.source.root.resolve().is_relative_to(output.resolve()):
            raise InputError(f"output '{output}' would replace '{layer.source.root}', which is to be cut: name another")
    hr = layers[0].source

    def check(index: int) -> None:
        size = hr.size(index)
        for layer in layers[1:]:
            own = layer.indices[index]
            check_lr_size(layer.source.name(own), layer.source.size(own), hr.name(index), size, layer.reduction)

    check_all(len(hr), check)


def _cut_all(layers: list[Layer], sinks: list[Sink], crop: int, step: int, settings: PackingSettings) -> int:
    cuts = list(_cuts(layers))
    work = partial(crop_subimages, crop=crop, step=step, compression=settings.compression)
    count = 0
    for tiles in tqdm(map_in_processes(work, cuts, settings.workers), total=len(cuts), unit='photo'):
        for name, values in tiles.items():
            for sink, value in zip(sinks, values, strict=True):
                sink.put(name, value)
        count += len(tiles)
    return count


def _cuts(layers: list[Layer]) -> Iterator[Cut]:
    for i, stem in enumerate(layers[0].source.stems()):
        yield Cut(stem, [(one.source.path(one.indices[i]), one.source.format, one.reduction) for one in layers])
