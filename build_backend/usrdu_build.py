"""Build backend: setuptools', plus a start-up file at the root of every wheel, and the recipes in every normal wheel.

BasicSR has no plugin mechanism, so this package needs a `.pth` file in site-packages, by which every Python starts
`usrdu_basicsr.compat.hook`. setuptools can ship such a file only as `data_files`, which editable installs leave out.
This backend instead adds it to the finished wheels, normal and editable alike, so that installers list and remove it.

The recipes stay in `options/`, as in BasicSR. setuptools could ship them only from the package, or with a `package_dir`
that slows down editable installs (see setup.py). Editable installs read them from the checkout.
"""

import base64
import hashlib
import shutil
import zipfile
from pathlib import Path
from typing import Any

from setuptools import build_meta
from setuptools.build_meta import (
    build_sdist,
    get_requires_for_build_editable,
    get_requires_for_build_sdist,
    get_requires_for_build_wheel,
    prepare_metadata_for_build_editable,
    prepare_metadata_for_build_wheel,
)

__all__ = [
    'build_editable',
    'build_sdist',
    'build_wheel',
    'get_requires_for_build_editable',
    'get_requires_for_build_sdist',
    'get_requires_for_build_wheel',
    'prepare_metadata_for_build_editable',
    'prepare_metadata_for_build_wheel',
]

PTH = Path(__file__).with_name('usrdu_basicsr.pth')
RECIPES = Path(__file__).parents[1] / 'options'


def build_wheel(directory: str, config_settings: Any = None, metadata_directory: str | None = None) -> str:
    """PEP 517: build a wheel in `directory` and return its name."""
    name = build_meta.build_wheel(directory, config_settings, metadata_directory)
    recipes = {
        f'usrdu_basicsr/recipes/{path.relative_to(RECIPES).as_posix()}': path
        for path in sorted(RECIPES.glob('*/*.yml'))
    }
    _add_files(Path(directory, name), {PTH.name: PTH, **recipes})
    return name


def build_editable(directory: str, config_settings: Any = None, metadata_directory: str | None = None) -> str:
    """PEP 660: build an editable wheel in `directory` and return its name."""
    name = build_meta.build_editable(directory, config_settings, metadata_directory)
    _add_files(Path(directory, name), {PTH.name: PTH})
    return name


def _add_files(wheel: Path, sources: dict[str, Path]) -> None:
    """Put files into `wheel`, by their names in it, and their lines into the wheel's RECORD."""
    rewritten = wheel.with_suffix('.tmp')
    # A zip member cannot be replaced in place, so the wheel is copied, with the new RECORD last as PEP 427 recommends.
    with zipfile.ZipFile(wheel) as old, zipfile.ZipFile(rewritten, 'w', zipfile.ZIP_DEFLATED) as new:
        (record,) = (info for info in old.infolist() if info.filename.endswith('.dist-info/RECORD'))
        for info in old.infolist():
            if info is not record:
                new.writestr(info, old.read(info), zipfile.ZIP_DEFLATED)
        lines = old.read(record)
        for name, source in sources.items():
            content = source.read_bytes()
            member = zipfile.ZipInfo(name, record.date_time)
            member.external_attr = record.external_attr
            new.writestr(member, content, zipfile.ZIP_DEFLATED)
            digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b'=').decode()
            lines += f'{name},sha256={digest},{len(content)}\n'.encode()
        new.writestr(record, lines, zipfile.ZIP_DEFLATED)
    shutil.move(rewritten, wheel)
