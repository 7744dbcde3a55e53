"""Find, read and write image files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, UnidentifiedImageError

from usrdu_basicsr.utils.errors import InputError, one_line
from usrdu_basicsr.utils.files import atomic_write, input_folder, list_files, read_bytes

EXTENSIONS = frozenset({'.png', '.jpg', '.jpeg', '.bmp', '.tif', '.tiff', '.webp', '.ppm', '.pgm'})
EXIF_ORIENTATION = 0x0112
PNG_END = b'IEND\xaeB`\x82'
JPEG_END = b'\xff\xd9'


def list_images(folder: str | Path) -> list[Path]:
    """Image files of a folder (not of its subfolders), by name.

    Raises:
        InputNotFoundError: There is no such folder.
        InputError: It holds no image.
    """
    return list_files(input_folder(folder), EXTENSIONS, 'image')


def image_size(path: Path) -> tuple[int, int]:
    """(height, width) as `read_image` will give it: from the header, unless the file looks odd; then it is decoded.

    Raises:
        InputError: The file is not an image, or it is incomplete.
    """
    try:
        with Image.open(path) as image:
            kind, (width, height) = image.format, image.size
            # A PNG's getexif() decodes the image unless its header had an EXIF chunk; OpenCV does not turn TIFFs.
            may_turn = kind == 'JPEG' or 'exif' in image.info
            turned = may_turn and kind != 'TIFF' and image.getexif().get(EXIF_ORIENTATION, 1) >= 5
        odd = not _ends_well(path, kind)
    except (UnidentifiedImageError, Image.DecompressionBombError, OSError, ValueError):
        odd = True
    if odd:
        height, width = read_image(path).shape[:2]
        return height, width
    return (width, height) if turned else (height, width)


def _ends_well(path: Path, kind: str | None) -> bool:
    """False if the end mark of a PNG or JPEG file is not at its end: it may be cut short, or have more after it."""
    mark = {'PNG': PNG_END, 'JPEG': JPEG_END}.get(kind or '', b'')
    with open(path, 'rb') as file:
        file.seek(-len(mark) or 0, 2)
        return file.read() == mark


def read_image(path: Path) -> np.ndarray:
    """Read any image file as colour: gray and palette are expanded, alpha is dropped, EXIF orientation applied.

    Returns:
        `(H, W, 3)` float32, BGR as in OpenCV and BasicSR, [0, 1]; 16-bit and floating-point files keep their precision.

    Raises:
        InputError: The file is missing, is not an image or is incomplete.
    """
    return to_float(decode_image(read_bytes(path), str(path)))


def decode_image(content: bytes, name: str) -> np.ndarray:
    """The image in the bytes of an image file, as `read_image` gives it, but in the file's own depth.

    Args:
        content: The bytes.
        name: Of the image, for messages.

    Returns:
        `(H, W, 3)` uint8, uint16 or floating point, BGR; `to_float` brings it to [0, 1].

    Raises:
        InputError: They are not an image, or an incomplete one, or not finite.
    """
    return decode_with(cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH, content, name)


def decode_with(flags: int, content: bytes, name: str) -> np.ndarray:
    """`decode_image` with other flags of `cv2.imread`, which decide of channels, depth and orientation."""
    if not len(content):
        raise InputError(f"cannot read image '{name}': it is empty; replace or remove it")
    try:
        image = cv2.imdecode(np.frombuffer(content, np.uint8), flags)
    except cv2.error as error:
        raise InputError(f"cannot read image '{name}': replace or remove it ({one_line(error)})") from error
    if image is None:
        raise InputError(f"cannot read image '{name}': it is damaged or not an image; replace or remove it")
    if image.dtype.kind == 'f' and not np.isfinite(image).all():
        raise InputError(f"image '{name}' holds values that are not finite: replace or remove it")
    return image


def to_float(image: np.ndarray) -> np.ndarray:
    """Pixels of any depth as float32, integers divided by their largest value."""
    return image.astype(np.float32) / {'uint8': 255, 'uint16': 65535}.get(image.dtype.name, 1)


def write_png(path: Path, image: np.ndarray) -> None:
    """Write an 8-bit image `(H, W)` or `(H, W, 3)`, BGR, whole or not at all."""
    encoded = encode_png(image, str(path))
    atomic_write(path, lambda file: file.write(encoded))


def encode_png(image: np.ndarray, name: str, compression: int | None = None) -> bytes:
    """The bytes of a PNG file.

    Args:
        image: `(H, W)` or `(H, W, 3)` BGR, uint8 or uint16.
        name: Of the image, for the message.
        compression: 0 (none) to 9 (small and slow); None for OpenCV's choice.

    Raises:
        InputError: It is of another depth, or too large to be encoded.
    """
    if image.dtype not in (np.uint8, np.uint16):
        raise InputError(f"image '{name}' is {image.dtype}, which a PNG cannot hold: convert it to 8 or 16 bits")
    settings = [] if compression is None else [cv2.IMWRITE_PNG_COMPRESSION, compression]
    try:
        return cv2.imencode('.png', image, settings)[1].tobytes()
    except cv2.error as error:
        raise InputError(
            f"cannot make a PNG of image '{name}' of {image.shape[1]}x{image.shape[0]} ({one_line(error)})"
        ) from error


def check_unique_stems(paths: Sequence[Path]) -> None:
    """Refuse files whose results would share a name.

    Raises:
        InputError: Two have the same name without extension.
    """
    seen: dict[str, Path] = {}
    for path in paths:
        if path.stem in seen:
            raise InputError(f"results of '{seen[path.stem]}' and '{path}' would share a name: rename one of them")
        seen[path.stem] = path


def to_8bit(image: np.ndarray) -> np.ndarray:
    """[0, 1] floats to 8 bits: clipped and rounded."""
    return (image.clip(0, 1) * 255).round().astype(np.uint8)


def heat_map(log_scale: np.ndarray, low: float = -1.0, high: float = 3.0) -> np.ndarray:
    """Colour a map of log-scales, dark (certain) to bright (uncertain), on a fixed range so that maps compare.

    Args:
        log_scale: `(H, W)`, natural logarithm of the Laplace scale in 8-bit units.
        low: Darkest; -1 is the least that the network can say.
        high: Brightest; 3 is a scale of 20 gray levels.

    Returns:
        `(H, W, 3)` uint8, BGR.
    """
    return cv2.applyColorMap(to_8bit((log_scale - low) / (high - low)), cv2.COLORMAP_INFERNO)
