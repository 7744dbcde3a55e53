"""BasicSR's `meta_info` lists: one line per image, `NAME.png (HEIGHT,WIDTH,CHANNELS) COMPRESSION`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

from usrdu_basicsr.utils.errors import InputError, InputNotFoundError

META_INFO = 'meta_info.txt'  # name of the list in an LMDB
# Shape and compression are optional, and names may contain spaces.
LINE = re.compile(r'(?P<name>.+?)(?:\s+\((?P<height>\d+),\s*(?P<width>\d+)(?:,\s*\d+)?\)(?:\s+\d+)?)?')
FILE_NAME_ERRORS = 'surrogateescape'  # as in Python's file names that are not UTF-8
KEY_CHARACTERS = ''.join(chr(code) for code in range(32, 127) if chr(code) not in '%.')


class Entry(NamedTuple):
    """Line of a list.

    Attributes:
        name: Name with extension; a list of files may add subfolders.
        size: `(height, width)`, or None if the line has no shape.
    """

    name: str
    size: tuple[int, int] | None


def key_of(name: str) -> str:
    """LMDB key of a name without extension.

    BasicSR's readers support neither characters outside ASCII nor dots, which they read as the start of an extension.
    The key encodes them as `%XX`.
    """
    return quote(name, safe=KEY_CHARACTERS, errors=FILE_NAME_ERRORS).replace('.', '%2E')


def meta_line(key: str, extension: str, shape: tuple[int, ...], compression: int) -> str:
    """Line of the list in an LMDB."""
    return f'{key}{extension} ({",".join(map(str, shape))}) {compression}\n'


def read_meta_info(path: str | Path) -> list[Entry]:
    """Read the entries of a list in order; empty lines are skipped.

    Raises:
        InputNotFoundError: If the file does not exist.
        InputError: If the file is not UTF-8 text, has no entries, or lists a name twice.
    """
    path = Path(path)
    try:
        lines = path.read_text(encoding='utf-8').splitlines()
    except FileNotFoundError as error:
        raise InputNotFoundError(
            f"meta info '{path}' does not exist. Relative paths start at '{Path.cwd()}'"
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read meta info '{path}' ({error}): expected UTF-8 text") from error
    entries: dict[str, Entry] = {}
    for line in filter(None, map(str.strip, lines)):
        match = LINE.fullmatch(line)
        name = match['name'] if match else line
        if name in entries:
            raise InputError(f"meta info '{path}' lists {name!r} twice. Remove one of the lines")
        size = (int(match['height']), int(match['width'])) if match and match['height'] else None
        entries[name] = Entry(name, size)
    if not entries:
        raise InputError(f"meta info '{path}' is empty: expected one line per image, NAME.png (H,W,C) 1")
    return list(entries.values())
