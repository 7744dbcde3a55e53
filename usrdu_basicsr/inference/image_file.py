"""Image files with their bit depth, gray, transparency and colour profile preserved."""

import io
import logging
import struct
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, PngImagePlugin, UnidentifiedImageError

from usrdu_basicsr.utils.errors import InputError
from usrdu_basicsr.utils.files import read_bytes, write_bytes
from usrdu_basicsr.utils.images import EXIF_ORIENTATION, decode_image, encode_png

logger = logging.getLogger(__name__)
FORMATS = {'.png': 'PNG', '.jpg': 'JPEG', '.jpeg': 'JPEG', '.webp': 'WEBP'}
MAX_SIDE = {'JPEG': 65535, 'WEBP': 16383}
QUALITY = 95  # of JPEG and WebP, higher than that of most input images
PNG_HEADER_BYTES = 8 + 25  # signature and IHDR chunk
PROFILE_SPACES = {1: b'GRAY', 3: b'RGB ', 4: b'RGB '}  # ICC colour space by number of channels
_pillow_lock = threading.Lock()


@dataclass(frozen=True)
class ImageFile:
    """Content of an image file.

    Attributes:
        pixels: `(H, W, C)` uint8, uint16 or floating point, with EXIF orientation applied. C is 1 (gray), 3 (BGR) or 4
            (BGR and alpha).
        icc_profile: ICC colour profile, or None.
    """

    pixels: np.ndarray
    icc_profile: bytes | None = None


def read_image_file(path: Path) -> ImageFile:
    """Read an image file.

    Raises:
        InputError: If the file is missing, incomplete or not an image.
    """
    content = read_bytes(path)
    pixels = np.atleast_3d(decode_image(content, str(path), cv2.IMREAD_UNCHANGED))
    try:
        with _without_pillow_limits(), Image.open(io.BytesIO(content)) as image:
            file_format, profile = image.format, image.info.get('icc_profile')
            # getexif() decodes the whole PNG unless its header has an EXIF chunk
            exif = image.getexif() if file_format == 'JPEG' or 'exif' in image.info else {}
            if getattr(image, 'n_frames', 1) > 1:
                logger.warning("'%s' has several pages or frames: only the first one is used", path)
            if 'transparency' in image.info and pixels.shape[2] == 1 and pixels.dtype == np.uint8:
                alpha = np.asarray(image.convert('LA').getchannel('A'))  # OpenCV does not read gray with transparency
                pixels = np.dstack([pixels, pixels, pixels, alpha])
    except UnidentifiedImageError:
        return ImageFile(pixels)  # format that only OpenCV reads
    except (OSError, ValueError, SyntaxError) as error:
        message = f"cannot read the metadata of '{path}' ({error}). Save the image again, or remove it"
        raise InputError(message) from error
    if file_format != 'TIFF':  # OpenCV always applies the orientation of a TIFF
        pixels = _apply_orientation(pixels, exif.get(EXIF_ORIENTATION, 1))
    if profile and profile[16:20] != PROFILE_SPACES.get(pixels.shape[2]):
        space = profile[16:20].decode('latin-1').strip()
        logger.warning("'%s': colour profile ignored: it is for %s, but the pixels are gray or RGB", path, space)
        profile = None
    return ImageFile(pixels, profile or None)


@contextmanager
def _without_pillow_limits() -> Iterator[None]:
    """Lift Pillow's limits on pixels and text. OpenCV has decoded the image already; Pillow reads the metadata only."""
    with _pillow_lock:
        limits = Image.MAX_IMAGE_PIXELS, PngImagePlugin.MAX_TEXT_CHUNK, PngImagePlugin.MAX_TEXT_MEMORY
        try:
            Image.MAX_IMAGE_PIXELS = None
            PngImagePlugin.MAX_TEXT_CHUNK = PngImagePlugin.MAX_TEXT_MEMORY = 2**31
            yield
        finally:
            Image.MAX_IMAGE_PIXELS, PngImagePlugin.MAX_TEXT_CHUNK, PngImagePlugin.MAX_TEXT_MEMORY = limits


def _apply_orientation(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Flip and transpose an image by its EXIF orientation (https://exiftool.org/TagNames/EXIF.html)."""
    if orientation in (5, 6, 7, 8):
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return np.ascontiguousarray(pixels)


def write_image_file(path: Path, image: ImageFile) -> None:
    """Write a uint8 or uint16 image atomically, in the format of the file extension (`FORMATS`).

    Raises:
        InputError: If the format does not support the image.
        WriteError: If the file cannot be written.
    """
    write_bytes(path, _encode(image, path))


def _encode(image: ImageFile, path: Path) -> bytes:
    file_format, pixels, profile = FORMATS[path.suffix.lower()], image.pixels, image.icc_profile
    if file_format == 'PNG':
        png = encode_png(pixels, str(path))
        return _add_profile(png, profile) if profile else png
    if pixels.dtype != np.uint8:
        raise InputError(f"'{path}': {file_format} does not support 16 bits. Use --ext png")
    if file_format == 'JPEG' and pixels.shape[2] == 4:
        raise InputError(f"'{path}': JPEG does not support transparency. Use --ext png or webp")
    if max(pixels.shape[:2]) > (limit := MAX_SIDE[file_format]):
        raise InputError(f"'{path}': {file_format} supports at most {limit} pixels a side. Use --ext png")
    if pixels.shape[2] == 1:
        pixels = pixels[..., 0]
        profile = None if file_format == 'WEBP' else profile  # WebP stores gray as RGB
    else:
        pixels = pixels[..., [2, 1, 0, 3][: pixels.shape[2]]]
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, file_format, quality=QUALITY, icc_profile=profile or b'')
    return buffer.getvalue()


def _add_profile(png: bytes, profile: bytes) -> bytes:
    """Insert an iCCP chunk after the header of a PNG file, https://www.w3.org/TR/png-3/#11iCCP."""
    content = b'iCCP' + b'ICC profile\0\0' + zlib.compress(profile)
    chunk = struct.pack('>I', len(content) - 4) + content + struct.pack('>I', zlib.crc32(content))
    return png[:PNG_HEADER_BYTES] + chunk + png[PNG_HEADER_BYTES:]
