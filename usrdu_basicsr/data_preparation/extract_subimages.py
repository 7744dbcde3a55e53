"""Crop large images into sub-images, so that training decodes less for each patch."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

from usrdu_basicsr.data_preparation.crop_subimages import LayerFile, crop_subimages
from usrdu_basicsr.data_preparation.packing import DEFAULT_PACKING, PackingSettings
from usrdu_basicsr.data_preparation.process_pool import map_in_processes
from usrdu_basicsr.storage.generated_set import (
    LOG_SCALE_FOLDER,
    LR_FOLDER,
    read_description,
    write_description,
)
from usrdu_basicsr.storage.lmdb_writer import LmdbWriter, Value
from usrdu_basicsr.storage.open_source import LMDB_SUFFIX, open_source
from usrdu_basicsr.storage.pairs import check_lr_size, partner_indices
from usrdu_basicsr.storage.source import IMAGE, LOG_SCALE, FolderSource, Format, check_all
from usrdu_basicsr.utils.errors import InputError
from usrdu_basicsr.utils.files import atomic_dir, input_folder, write_text

HR_FOLDER = 'hr'
SUBIMAGES_FILE = '.subimages.json'  # hidden, because BasicSR reads all other files of a folder as images


class Layer(NamedTuple):
    """Files that are cropped at the same positions: HR images, LR images or log-scale maps.

    Attributes:
        source: Folder of the files.
        indices: Index in `source` of the file that belongs to each HR image.
        scale: Number of HR pixels per pixel of this layer, along each axis.
        output: Path of the sub-images relative to the output.
    """

    source: FolderSource
    indices: np.ndarray
    scale: int
    output: str = ''


def extract_subimages(
    images: str | Path, output: str | Path, crop: int, step: int, settings: PackingSettings = DEFAULT_PACKING
) -> int:
    """Crop the images of a folder into sub-images named `NAME_s001`, `NAME_s002`, ... row by row, as in BasicSR.

    Args:
        images: Folder of images.
        output: Folder of the sub-images, or an LMDB if the name ends in `.lmdb`. It is written atomically.
        crop: Side of a sub-image in pixels. Images with a shorter side are not cropped along that side.
        step: Distance between sub-images in pixels. A last sub-image ends at the border of the image.
        settings: Number of processes, compression and overwriting.

    Returns:
        Number of sub-images.

    Raises:
        InputNotFoundError: If the folder does not exist.
        InputError: If the folder is empty, two files have the same name without extension, an image is unreadable or
            the output already exists.
    """
    output, source = Path(output), _open_folder(images, IMAGE)
    layers = [Layer(source, partner_indices(source, source), 1)]
    return _extract(layers, output, crop, step, output.suffix == LMDB_SUFFIX, settings)


def extract_generated_subimages(
    images: str | Path,
    generated: str | Path,
    output: str | Path,
    crop: int,
    step: int,
    as_lmdb: bool = False,
    settings: PackingSettings = DEFAULT_PACKING,
) -> int:
    """Crop HR images together with their generated LR images and log-scale maps into a new generated set.

    Args:
        images: Folder of HR images.
        generated: Output of `scripts/generate_lr.py` for these images.
        output: Folder of `hr`, `lr`, `log_scale`, `generation.json` and `.subimages.json`. It is written atomically.
        crop: Side of an HR sub-image in pixels, a multiple of the scale of the set. See `extract_subimages`.
        step: Distance between HR sub-images in pixels, a multiple of the scale.
        as_lmdb: Write `hr.lmdb`, `lr.lmdb` and `log_scale.lmdb` instead of folders.
        settings: Number of processes, compression and overwriting.

    Returns:
        Number of HR sub-images.

    Raises:
        InputNotFoundError: If a folder does not exist.
        InputError: As `extract_subimages`; if the set has no `generation.json` or belongs to other images, or if crop
            or step is not a multiple of the scale.
    """
    generated = input_folder(generated)
    description = read_description(generated)
    if description is None:
        raise InputError(f"'{generated}' contains no generation.json. Pass the output folder of scripts/generate_lr.py")
    scale = description['scale']
    for name, value in (('crop', crop), ('step', step)):
        if value % scale:
            raise InputError(f"{name}: got {value}, expected a multiple of {scale}, the scale of '{generated}'")
    hr = _open_folder(images, IMAGE)
    lr, log_scale = _open_folder(generated / LR_FOLDER, IMAGE), _open_folder(generated / LOG_SCALE_FOLDER, LOG_SCALE)
    suffix = LMDB_SUFFIX if as_lmdb else ''
    layers = [
        Layer(source, partner_indices(hr, source), layer_scale, f'{name}{suffix}')
        for source, layer_scale, name in (
            (hr, 1, HR_FOLDER),
            (lr, scale, LR_FOLDER),
            (log_scale, scale, LOG_SCALE_FOLDER),
        )
    ]
    return _extract(layers, Path(output), crop, step, as_lmdb, settings, description)


def _open_folder(folder: str | Path, file_format: Format) -> FolderSource:
    source = open_source(folder, file_format)
    if not isinstance(source, FolderSource):
        raise InputError(f"'{folder}' is an LMDB, expected a folder of images")
    return source


def _extract(
    layers: list[Layer],
    output: Path,
    crop: int,
    step: int,
    as_lmdb: bool,
    settings: PackingSettings,
    description: dict[str, Any] | None = None,
) -> int:
    """Write the sub-images of all layers and the description of the generated set, if any; return their number."""
    _check_layers(layers, output)
    stems = layers[0].source.stems()
    images = [
        [LayerFile(layer.source.path(layer.indices[i]), layer.source.format, layer.scale) for layer in layers]
        for i in range(len(stems))
    ]
    work = partial(crop_subimages, crop=crop, step=step, compression=settings.compression)
    count = 0
    with atomic_dir(output, SUBIMAGES_FILE, settings.overwrite) as temporary:
        with ExitStack() as stack:
            writers = [_open_writer(temporary / layer.output, as_lmdb, stack) for layer in layers]
            results = tqdm(map_in_processes(work, images, settings.workers), total=len(images), unit='image')
            for stem, subimages in zip(stems, results, strict=True):
                for number, values in enumerate(subimages, 1):
                    for write, value in zip(writers, values, strict=True):
                        write(f'{stem}_s{number:03d}', value)
                count += len(subimages)
        record = {'crop': crop, 'step': step, 'images': len(images), 'subimages': count}
        write_text(temporary / SUBIMAGES_FILE, json.dumps(record, indent=2) + '\n')
        if description is not None:
            write_description(temporary, description | {'count': count})
    return count


def _check_layers(layers: list[Layer], output: Path) -> None:
    """Refuse unreadable files, LR files of the wrong size, and an output folder that contains the input."""
    for layer in layers:
        if layer.source.root.resolve().is_relative_to(output.resolve()):
            raise InputError(f"output '{output}' would replace the input '{layer.source.root}'. Choose another name")
    hr = layers[0].source

    def check(index: int) -> None:
        size = hr.size(index)
        for source, indices, scale, _ in layers[1:]:
            check_lr_size(source.name(indices[index]), source.size(indices[index]), hr.name(index), size, scale)

    check_all(len(hr), check)


def _open_writer(path: Path, as_lmdb: bool, stack: ExitStack) -> Callable[[str, Value], None]:
    """Function that writes a value under a name without extension."""
    if as_lmdb:
        return stack.enter_context(LmdbWriter(path)).put
    path.mkdir(exist_ok=True)
    return partial(_write_file, path)


def _write_file(folder: Path, name: str, value: Value) -> None:
    (folder / f'{name}{value.extension}').write_bytes(value.content)
