"""What stands under a name in a folder or an LMDB: an image, or a map of log-scales."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from usrdu_basicsr.storage.generated_set import decode_log_scale, log_scale_size
from usrdu_basicsr.utils.images import EXTENSIONS, decode_image, image_size


class Format(NamedTuple):
    """How arrays `(H, W, 3)` are stored.

    Attributes:
        noun: What one is called in messages.
        extensions: Of its files, in lower case.
        size: (height, width) in a file.
        decode: The array in a file's bytes; the second argument names it in messages.
    """

    noun: str
    extensions: frozenset[str]
    size: Callable[[Path], tuple[int, int]]
    decode: Callable[[bytes, str], np.ndarray]


IMAGE = Format('image', EXTENSIONS, image_size, decode_image)
LOG_SCALE = Format('log-scale map', frozenset({'.npy'}), log_scale_size, decode_log_scale)
