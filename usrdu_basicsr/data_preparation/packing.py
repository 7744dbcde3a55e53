"""Settings, input folders and encoding that LMDB creation and sub-image extraction share."""

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from usrdu_basicsr.storage.lmdb_writer import Value
from usrdu_basicsr.storage.open_source import open_source
from usrdu_basicsr.storage.source import LOG_SCALE, FolderSource, Format
from usrdu_basicsr.utils.errors import InputError
from usrdu_basicsr.utils.images import encode_png


@dataclass(frozen=True)
class PackingSettings:
    """Settings that `usrdu lmdb` and `usrdu subimages` share.

    Attributes:
        workers: Number of processes that read and encode files.
        compression: PNG compression level, 0 (largest, fastest to read) to 9 (smallest).
        overwrite: Replace existing output.
    """

    workers: int = 1
    compression: int = 1
    overwrite: bool = False


DEFAULT_PACKING = PackingSettings()


def open_folder(folder: str | Path, file_format: Format) -> FolderSource:
    """Open the files of a folder, with an InputError if it is an LMDB."""
    source = open_source(folder, file_format)
    if not isinstance(source, FolderSource):
        raise InputError(f"'{folder}' is an LMDB, expected a folder of {file_format.noun}s")
    return source


def encode_value(array: np.ndarray, name: str, file_format: Format, compression: int) -> Value:
    """Encode an image as PNG, or a log-scale map as `numpy.save` does.

    Args:
        array: Decoded image or log-scale map, `(H, W, 3)`.
        name: Name of the array, for error messages.
        file_format: `IMAGE` or `LOG_SCALE`.
        compression: PNG compression level.

    Raises:
        InputError: If PNG does not support the data type of the image.
    """
    array = np.ascontiguousarray(array)
    if file_format == LOG_SCALE:
        file = io.BytesIO()
        np.save(file, array)
        return Value(file.getvalue(), array.shape, '.npy', 0)
    return Value(encode_png(array, name, compression), array.shape, '.png', compression)
