"""Find, read and write image files."""

import io
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from usrdu_basicsr.utils.errors import InputError, one_line
from usrdu_basicsr.utils.files import check_file, input_folder, list_files, read_bytes, write_bytes

EXTENSIONS = frozenset({'.png', '.jpg', '.jpeg', '.bmp', '.tif', '.tiff', '.webp', '.ppm', '.pgm'})
EXIF_ORIENTATION = 0x0112
TOLERANCE = 1 / 255  # filters can move floating-point images slightly beyond [0, 1]
TIFF_MARKS = (b'II*\0', b'MM\0*')
END_MARKS = {'PNG': b'IEND\xaeB`\x82', 'JPEG': b'\xff\xd9'}


def list_images(folder: str | Path) -> list[Path]:
    """List the image files of a folder by name, without subfolders; an InputError if there is none."""
    return list_files(input_folder(folder), EXTENSIONS, 'image')


def image_size(path: Path) -> tuple[int, int]:
    """Size of an image as `read_image` returns it: `(height, width)`.

    The size comes from the file header. Files without the end mark of their format are decoded.

    Raises:
        InputError: If the file is not an image or is truncated.
    """
    check_file(path)
    try:
        with Image.open(path) as image:
            file_format, (width, height) = image.format, image.size
            # getexif() of a PNG without an EXIF chunk in its header decodes the image. OpenCV does not rotate TIFFs.
            has_exif = file_format == 'JPEG' or ('exif' in image.info and file_format != 'TIFF')
            transposed = has_exif and image.getexif().get(EXIF_ORIENTATION, 1) >= 5
        complete = _has_end_mark(path, file_format)
    except (Image.DecompressionBombError, OSError, ValueError, SyntaxError, TypeError):  # also of EXIF data
        complete = False
    if not complete:
        height, width = decode_image(read_bytes(path), str(path)).shape[:2]
        return height, width
    return (width, height) if transposed else (height, width)


def _has_end_mark(path: Path, file_format: str | None) -> bool:
    """False if a PNG or JPEG file is truncated or has trailing bytes."""
    mark = END_MARKS.get(file_format or '', b'')
    with open(path, 'rb') as file:
        file.seek(-len(mark) or 0, 2)
        return file.read() == mark


def read_image(path: Path) -> np.ndarray:
    """Read an image file as colour: gray and palette are expanded, alpha is dropped, EXIF orientation is applied.

    Returns:
        `(H, W, 3)` float32, BGR as in OpenCV and BasicSR, [0, 1]; 16-bit and floating-point files keep their precision.

    Raises:
        InputError: If the file is missing, is not an image or is truncated.
    """
    return to_float(decode_image(read_bytes(path), str(path)))


def decode_image(content: bytes, name: str, flags: int = cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH) -> np.ndarray:
    """Decode an image file, by default as `read_image` does but in the bit depth of the file.

    Args:
        content: Content of the file.
        name: Name of the image, for error messages.
        flags: Flags of `cv2.imread`, which select channels, bit depth and orientation.

    Returns:
        `(H, W, 3)` uint8, uint16 or floating point, BGR; `to_float` converts it to [0, 1].

    Raises:
        InputError: If the content is not an image, is truncated, or has a type or range that `check_range` refuses.
    """
    if not len(content):
        raise InputError(f"cannot read image '{name}': the file is empty. Replace or remove it")
    try:
        image = cv2.imdecode(np.frombuffer(content, np.uint8), flags)
    except cv2.error as error:
        raise InputError(f"cannot read image '{name}' ({one_line(error)}). Replace or remove it") from error
    if image is None:
        raise InputError(f"cannot read image '{name}': the file is corrupt or not an image. Replace or remove it")
    if image.dtype == np.uint8 and content[:4] in TIFF_MARKS:
        image = _with_straight_alpha(image, content, flags)
    check_range(image, f"image '{name}'")
    return image


def _with_straight_alpha(image: np.ndarray, content: bytes, flags: int) -> np.ndarray:
    """Decode a TIFF by Pillow if it has transparency: OpenCV multiplies its colours by alpha."""
    try:
        with Image.open(io.BytesIO(content)) as tiff:
            if tiff.mode not in ('LA', 'RGBA'):
                return image
            pixels = np.asarray(tiff.convert('RGBA'))
    except (Image.DecompressionBombError, OSError, ValueError):
        return image
    return pixels[..., [2, 1, 0, 3] if flags == cv2.IMREAD_UNCHANGED else [2, 1, 0]]


def check_range(image: np.ndarray, name: str) -> None:
    """Raise an InputError, with the given name, unless an image is uint8, uint16, or floating point in [0, 1]."""
    if image.dtype.name not in ('uint8', 'uint16') and image.dtype.kind != 'f':
        raise InputError(f'{name}: got {image.dtype}, expected uint8, uint16, or floating point in [0, 1]. Convert it')
    if image.dtype.kind == 'f' and image.size:
        low, high = image.min(), image.max()
        if not -TOLERANCE <= low <= high <= 1 + TOLERANCE:  # also true for NaN
            got = f'{image.dtype} from {low:g} to {high:g}'
            raise InputError(f'{name}: got {got}, expected [0, 1]. Divide 8-bit values by 255')


def to_float(image: np.ndarray) -> np.ndarray:
    """Convert to float32; integers are divided by the largest value of their type."""
    return image.astype(np.float32) / {'uint8': 255, 'uint16': 65535}.get(image.dtype.name, 1)


def centre_crop(image: np.ndarray, size: int) -> np.ndarray:
    """Central part of an image `(H, W, ...)` with sides of at most `size` pixels."""
    top, left = (max(side - size, 0) // 2 for side in image.shape[:2])
    return image[top : top + size, left : left + size]


def to_8bit(image: np.ndarray) -> np.ndarray:
    """Convert floats in [0, 1] to uint8: clip, scale and round."""
    return (image.clip(0, 1) * 255).round().astype(np.uint8)


def write_png(path: Path, image: np.ndarray) -> None:
    """Write an 8-bit image `(H, W)` or `(H, W, 3)` BGR atomically."""
    write_bytes(path, encode_png(image, str(path)))


def encode_png(image: np.ndarray, name: str, compression: int | None = None) -> bytes:
    """Encode an image as PNG.

    Args:
        image: `(H, W)` or `(H, W, 3)` BGR, uint8 or uint16.
        name: Name of the image, for error messages.
        compression: 0 (none) to 9 (smallest, slowest); None for OpenCV's default.

    Raises:
        InputError: If the image has another data type or is too large for OpenCV.
    """
    if image.dtype not in (np.uint8, np.uint16):
        raise InputError(f"image '{name}': got {image.dtype}, expected uint8 or uint16 for PNG. Convert the image")
    settings = [] if compression is None else [cv2.IMWRITE_PNG_COMPRESSION, compression]
    try:
        return cv2.imencode('.png', image, settings)[1].tobytes()
    except cv2.error as error:
        size = f'{image.shape[1]}x{image.shape[0]}'
        raise InputError(f"cannot encode image '{name}' of {size} pixels as PNG ({one_line(error)})") from error


def check_unique_stems(paths: Sequence[Path]) -> None:
    """Raise an InputError if results of two files would have the same name because only their extensions differ."""
    seen: dict[str, Path] = {}
    for path in paths:
        if path.stem in seen:
            raise InputError(f"results of '{seen[path.stem]}' and '{path}' would share a name. Rename one of them")
        seen[path.stem] = path


def heat_map(log_scale: np.ndarray) -> np.ndarray:
    """Colour a map of log-scales from dark (certain) to bright (uncertain). The range is fixed to make maps comparable.

    Args:
        log_scale: `(H, W)`, natural logarithm of the Laplace scale in 8-bit units.

    Returns:
        `(H, W, 3)` uint8, BGR.
    """
    low, high = -1.0, 3.0  # lower bound of the network's output; a scale of 20 gray levels
    return cv2.applyColorMap(to_8bit((log_scale - low) / (high - low)), cv2.COLORMAP_INFERNO)
