"""BasicSR's `meta_info` lists: a line an image, `NAME.png (HEIGHT,WIDTH,CHANNELS) COMPRESSION`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

from usrdu_basicsr.utils.errors import InputError, InputNotFoundError

META_INFO = 'meta_info.txt'  # inside an LMDB
# Shape and compression may be missing, and names hold spaces.
LINE = re.compile(r'(?P<name>.+?)(?:\s+\((?P<height>\d+),\s*(?P<width>\d+)(?:,\s*\d+)?\)(?:\s+\d+)?)?')
FILE_NAME_ERRORS = 'surrogateescape'  # as Python reads file names that are not UTF-8
KEY_CHARACTERS = ''.join(chr(code) for code in range(32, 127) if chr(code) not in '%.')


class Entry(NamedTuple):
    """One line of a list."""

    name: str
    """With its extension; in a list of files it may have folders before it."""
    size: tuple[int, int] | None
    """(height, width), where the line says it."""


def key_of(name: str) -> str:
    """The LMDB key of a name without its extension: the name, with what BasicSR's readers cannot take as `%XX`.

    Those are characters outside ASCII, and points, which they take for the start of an extension.
    """
    return quote(name, safe=KEY_CHARACTERS, errors=FILE_NAME_ERRORS).replace('.', '%2E')


def meta_line(key: str, extension: str, shape: tuple[int, ...], compression: int) -> str:
    """A line of the list in an LMDB."""
    return f'{key}{extension} ({",".join(map(str, shape))}) {compression}\n'


def read_meta_info(path: str | Path) -> list[Entry]:
    """The entries of a list, in their order; empty lines are left out.

    Raises:
        InputNotFoundError: There is no such file.
        InputError: It is not text in UTF-8, names nothing, or names one twice.
    """
    path = Path(path)
    try:
        lines = path.read_text(encoding='utf-8').splitlines()
    except FileNotFoundError as error:
        raise InputNotFoundError(f"no meta info '{path}': check the path, relative to '{Path.cwd()}'") from error
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read meta info '{path}': expected text in UTF-8 ({error})") from error
    entries = {}
    for line in filter(None, map(str.strip, lines)):
        found = LINE.fullmatch(line)
        name = found['name'] if found else line
        if name in entries:
            raise InputError(f"meta info '{path}' names {name!r} twice: remove one of the lines")
        size = (int(found['height']), int(found['width'])) if found and found['height'] else None
        entries[name] = Entry(name, size)
    if not entries:
        raise InputError(f"meta info '{path}' names nothing: expected a line for each image, NAME.png (H,W,C) 1")
    return list(entries.values())
