"""BasicSR's `meta_info` lists: one line per image, `NAME.png (HEIGHT,WIDTH,CHANNELS) COMPRESSION`."""

import re
from pathlib import Path
from urllib.parse import quote

from usrdu_basicsr.utils.errors import InputError, not_found

META_INFO = 'meta_info.txt'  # name of the list in an LMDB
SHAPE = re.compile(r'\s+\((\d+),\s*(\d+)(,\s*\d+)?\)(\s+\d+)?$')  # optional; names may contain spaces
FILE_NAME_ERRORS = 'surrogateescape'  # as in Python's file names that are not UTF-8
KEY_CHARACTERS = ''.join(chr(code) for code in range(32, 127) if chr(code) not in '%.')


def key_of(name: str) -> str:
    """LMDB key of a name without extension.

    BasicSR's readers support neither characters outside ASCII nor dots, which they read as the start of an extension.
    The key encodes them as `%XX`, and also a leading space, which readers of `meta_info.txt` remove.
    """
    key = quote(name, safe=KEY_CHARACTERS, errors=FILE_NAME_ERRORS).replace('.', '%2E')
    return f'%20{key[1:]}' if key.startswith(' ') else key


def read_meta_info(path: str | Path) -> dict[str, tuple[int, int] | None]:
    """Read the entries of a list in order; empty lines are skipped.

    Returns:
        `(height, width)`, or None for a line without a shape, by name with extension. Names in a list of files may
        contain subfolders.

    Raises:
        InputNotFoundError: If the file does not exist.
        InputError: If the file is not UTF-8 text, has no entries, or lists a name twice.
    """
    path = Path(path)
    try:
        lines = path.read_text(encoding='utf-8').splitlines()
    except FileNotFoundError as error:
        raise not_found(f"meta info '{path}'") from error
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read meta info '{path}' ({error}): expected UTF-8 text") from error
    sizes: dict[str, tuple[int, int] | None] = {}
    for line in filter(None, map(str.strip, lines)):
        shape = SHAPE.search(line)
        name = line[: shape.start()] if shape else line
        if name in sizes:
            raise InputError(f"meta info '{path}' lists {name!r} twice. Remove one of the lines")
        sizes[name] = (int(shape[1]), int(shape[2])) if shape else None
    if not sizes:
        raise InputError(f"meta info '{path}' is empty: expected one line per image, NAME.png (H,W,C) 1")
    return sizes
