"""Image files as a user of the results wants them kept: depth, gray, transparency, colour profile."""

from __future__ import annotations

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
from usrdu_basicsr.utils.files import atomic_write, read_bytes
from usrdu_basicsr.utils.images import EXIF_ORIENTATION, decode_with, encode_png

logger = logging.getLogger(__name__)
FORMATS = {'.png': 'PNG', '.jpg': 'JPEG', '.jpeg': 'JPEG', '.webp': 'WEBP'}
QUALITY = 95  # of JPEG and WebP: higher than most photos come with
PNG_SIGNATURE_AND_HEADER = 8 + 25
ANY_SIZE = 2**31
_pillow = threading.Lock()
PROFILE_OF_CHANNELS = {1: b'GRAY', 3: b'RGB ', 4: b'RGB '}


@dataclass(frozen=True)
class ImageFile:
    """What an image file holds.

    Attributes:
        pixels: `(H, W, C)` uint8, uint16 or floating point; C is 1 (gray), 3 (BGR) or 4 (BGR and alpha). As they are
            to be seen: EXIF orientation is applied.
        icc_profile: What its colours mean, if the file says so.
    """

    pixels: np.ndarray
    icc_profile: bytes | None = None


def read_image_file(path: Path) -> ImageFile:
    """Read an image file.

    Raises:
        InputError: The file is missing, is not an image or is incomplete.
    """
    content = read_bytes(path)
    pixels = decode_with(cv2.IMREAD_UNCHANGED, content, str(path))
    pixels = pixels if pixels.ndim == 3 else pixels[..., None]
    try:
        with _headers_of_any_size(), Image.open(io.BytesIO(content)) as header:
            kind, profile = header.format, header.info.get('icc_profile')
            # a PNG's getexif() decodes the image unless its header had an EXIF chunk
            exif = header.getexif() if kind == 'JPEG' or 'exif' in header.info else {}
            if getattr(header, 'n_frames', 1) > 1:
                logger.warning("'%s' has several pages or frames: the first one is taken", path)
            if 'transparency' in header.info and pixels.shape[2] == 1 and pixels.dtype == np.uint8:
                alpha = np.asarray(header.convert('LA').getchannel('A'))  # OpenCV has no gray with transparency
                pixels = np.dstack([pixels, pixels, pixels, alpha])
    except UnidentifiedImageError:
        return ImageFile(pixels)  # it is of a kind that OpenCV alone reads
    except (OSError, ValueError, SyntaxError) as error:  # of its metadata, as OpenCV has read the pixels
        raise InputError(f"cannot read what '{path}' says of itself ({error}): save it anew, or remove it") from error
    if kind != 'TIFF':  # these OpenCV turns in any case
        pixels = _turned(pixels, exif.get(EXIF_ORIENTATION, 1))
    if profile and profile[16:20] != PROFILE_OF_CHANNELS.get(pixels.shape[2]):
        space = profile[16:20].decode('latin-1').strip()
        logger.warning("'%s': its colour profile is for %s, which it was converted from without it", path, space)
        profile = None
    return ImageFile(pixels, profile or None)


@contextmanager
def _headers_of_any_size() -> Iterator[None]:
    """Pillow without its limits of pixels and text: OpenCV has decoded the image, and metadata is all that is read."""
    with _pillow:
        before = Image.MAX_IMAGE_PIXELS, PngImagePlugin.MAX_TEXT_CHUNK, PngImagePlugin.MAX_TEXT_MEMORY
        try:
            Image.MAX_IMAGE_PIXELS = None
            PngImagePlugin.MAX_TEXT_CHUNK = PngImagePlugin.MAX_TEXT_MEMORY = ANY_SIZE
            yield
        finally:
            Image.MAX_IMAGE_PIXELS, PngImagePlugin.MAX_TEXT_CHUNK, PngImagePlugin.MAX_TEXT_MEMORY = before


def _turned(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """As EXIF says that a picture is to be seen (https://exiftool.org/TagNames/EXIF.html, Orientation)."""
    if orientation in (5, 6, 7, 8):
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return np.ascontiguousarray(pixels)


def write_image_file(path: Path, picture: ImageFile) -> None:
    """Write an image file by its ending (`FORMATS`), whole or not at all.

    Args:
        path: The file.
        picture: uint8 or uint16.

    Raises:
        InputError: The format cannot hold it.
        WriteError: The file cannot be written.
    """
    encoded = _encode(picture, path)
    atomic_write(path, lambda file: file.write(encoded))


def _encode(picture: ImageFile, path: Path) -> bytes:
    kind, pixels = FORMATS[path.suffix.lower()], picture.pixels
    if kind == 'PNG':
        return _with_profile(encode_png(pixels, str(path)), picture.icc_profile)
    if pixels.dtype != np.uint8:
        raise InputError(f"'{path}': {kind} cannot hold the 16 bits of this image: use --ext png")
    if kind == 'JPEG' and pixels.shape[2] == 4:
        raise InputError(f"'{path}': JPEG cannot hold the transparency of this image: use --ext png or webp")
    largest = {'JPEG': 65535, 'WEBP': 16383}[kind]
    if max(pixels.shape[:2]) > largest:
        raise InputError(f"'{path}': {kind} holds images of up to {largest} pixels a side: use --ext png")
    colours = pixels[..., 0] if pixels.shape[2] == 1 else pixels[..., [2, 1, 0, 3][: pixels.shape[2]]]
    buffer = io.BytesIO()
    # WebP has no gray: a profile for it would not fit
    profile = None if kind == 'WEBP' and pixels.shape[2] == 1 else picture.icc_profile
    Image.fromarray(colours).save(buffer, kind, quality=QUALITY, icc_profile=profile or b'')
    return buffer.getvalue()


def _with_profile(png: bytes, profile: bytes | None) -> bytes:
    """A PNG file with an iCCP chunk after its header, https://www.w3.org/TR/png-3/#11iCCP."""
    if profile is None:
        return png
    content = b'iCCP' + b'ICC profile\0\0' + zlib.compress(profile)
    chunk = struct.pack('>I', len(content) - 4) + content + struct.pack('>I', zlib.crc32(content))
    return png[:PNG_SIGNATURE_AND_HEADER] + chunk + png[PNG_SIGNATURE_AND_HEADER:]
