"""Crop large images into sub-images, so that training decodes less for each patch."""

import json
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

from tqdm import tqdm

from usrdu_basicsr.data_preparation.packing import DEFAULT_PACKING, PackingSettings, encode_value, open_folder
from usrdu_basicsr.data_preparation.process_pool import map_in_processes
from usrdu_basicsr.storage.generated_set import LOG_SCALE_FOLDER, LR_FOLDER, read_description, write_description
from usrdu_basicsr.storage.lmdb_writer import LmdbWriter, Value
from usrdu_basicsr.storage.open_source import LMDB_SUFFIX
from usrdu_basicsr.storage.pairs import check_lr_size, partner_indices
from usrdu_basicsr.storage.source import IMAGE, LOG_SCALE, FolderSource, Format, check_all
from usrdu_basicsr.utils.errors import InputError
from usrdu_basicsr.utils.files import atomic_dir, input_folder, read_bytes, write_text

HR_FOLDER = 'hr'
SUBIMAGES_FILE = '.subimages.json'  # hidden, because BasicSR reads all other files of a folder as images


class Layer(NamedTuple):
    """Files that are cropped at the same positions: HR images, LR images or log-scale maps.

    Attributes:
        source: Files, in the order of the HR images.
        scale: Number of HR pixels per pixel of this layer, along each axis.
        output: Path of the sub-images relative to the output.
    """

    source: FolderSource
    scale: int
    output: str = ''


def extract_subimages(
    images: str | Path,
    output: str | Path,
    crop: int,
    step: int,
    generated: str | Path | None = None,
    as_lmdb: bool = False,
    settings: PackingSettings = DEFAULT_PACKING,
) -> int:
    """Crop the images of a folder into sub-images named `NAME_s001`, `NAME_s002`, ... row by row, as in BasicSR.

    With a generated set, HR images are cropped together with their LR images and log-scale maps into a new set.

    Args:
        images: Folder of images; HR images if there is a generated set.
        output: Folder of the sub-images, or an LMDB if the name ends in `.lmdb`. With a generated set, folder of `hr`,
            `lr`, `log_scale`, `generation.json` and `.subimages.json`. It is written atomically.
        crop: Side of a sub-image in pixels. Images with a shorter side are not cropped along that side.
        step: Distance between sub-images in pixels. A last sub-image ends at the border of the image.
        generated: Output of `usrdu generate` for the images, or None. Crop and step are HR pixels, multiples
            of its scale.
        as_lmdb: With a generated set, write `hr.lmdb`, `lr.lmdb` and `log_scale.lmdb` instead of folders.
        settings: Number of processes, compression and overwriting.

    Returns:
        Number of sub-images of `images`.

    Raises:
        InputNotFoundError: If a folder does not exist.
        InputError: If a folder is empty, two files have the same name without extension, an image is unreadable or the
            output already exists; if the set has no `generation.json` or belongs to other images, or if crop or step
            is not a multiple of its scale.
    """
    output = Path(output)
    if generated is None:
        return _extract([_open_layer(images, IMAGE)], output, crop, step, output.suffix == LMDB_SUFFIX, settings)
    generated = input_folder(generated)
    description = read_description(generated)
    if description is None:
        raise InputError(f"'{generated}' contains no generation.json. Pass the output folder of usrdu generate")
    scale = description['scale']
    for name, value in (('crop', crop), ('step', step)):
        if value % scale:
            raise InputError(f"{name}: got {value}, expected a multiple of {scale}, the scale of '{generated}'")
    suffix = LMDB_SUFFIX if as_lmdb else ''
    hr = _open_layer(images, IMAGE, output=f'{HR_FOLDER}{suffix}')
    lr = _open_layer(generated / LR_FOLDER, IMAGE, scale, f'{LR_FOLDER}{suffix}', hr)
    log_scale = _open_layer(generated / LOG_SCALE_FOLDER, LOG_SCALE, scale, f'{LOG_SCALE_FOLDER}{suffix}', hr)
    return _extract([hr, lr, log_scale], output, crop, step, as_lmdb, settings, description)


def _open_layer(
    folder: str | Path, file_format: Format, scale: int = 1, output: str = '', hr: Layer | None = None
) -> Layer:
    """Open the files that belong to the HR images; without `hr`, the HR images themselves."""
    source = open_folder(folder, file_format)
    partners = partner_indices(source if hr is None else hr.source, source)
    return Layer(FolderSource(source.root, source.names[partners].tolist(), file_format), scale, output)


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
    images = [[layer.source.path(index) for layer in layers] for index in range(len(stems))]
    kinds = [(layer.source.format, layer.scale) for layer in layers]
    work = partial(_crop_subimages, kinds=kinds, crop=crop, step=step, compression=settings.compression)
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
        for source, scale, _ in layers[1:]:
            check_lr_size(source.name(index), source.size(index), hr.name(index), size, scale)

    check_all(len(hr), check)


def _open_writer(path: Path, as_lmdb: bool, stack: ExitStack) -> Callable[[str, Value], object]:
    """Function that writes a value under a name without extension."""
    if as_lmdb:
        return stack.enter_context(LmdbWriter(path)).put
    path.mkdir(exist_ok=True)
    return lambda name, value: (path / f'{name}{value.extension}').write_bytes(value.content)


def _crop_subimages(
    paths: Sequence[Path], kinds: Sequence[tuple[Format, int]], crop: int, step: int, compression: int
) -> list[list[Value]]:
    """Crop the files of one image, with the format and scale of each, into encoded sub-images, row by row."""
    arrays = [
        file_format.decode(read_bytes(path), str(path)) for path, (file_format, _) in zip(paths, kinds, strict=True)
    ]
    largest = max(scale for _, scale in kinds)
    height, width = (side // largest * largest for side in arrays[0].shape[:2])
    subimages = []
    for top, left in product(subimage_starts(height, crop, step), subimage_starts(width, crop, step)):
        values = []
        for array, path, (file_format, scale) in zip(arrays, paths, kinds, strict=True):
            rows, columns = (slice(start // scale, (start + crop) // scale) for start in (top, left))
            values.append(encode_value(array[rows, columns], str(path), file_format, compression))
        subimages.append(values)
    return subimages


def subimage_starts(length: int, crop: int, step: int) -> list[int]:
    """Positions of sub-images along a side of `length` pixels: multiples of `step`, and one that ends at the border."""
    last = max(length - crop, 0)
    return [*range(0, last, step), last]
