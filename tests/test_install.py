"""Regular and editable wheels: contents, installation, use and uninstallation, without network access."""

import base64
import csv
import hashlib
import os
import shutil
import sysconfig
import venv
import zipfile
from pathlib import Path

import basicsr
import pytest

from python_process import ROOT, check_python, run_python

pytestmark = pytest.mark.slow

PTH = 'usrdu_basicsr.pth'
FINDERS = 'import sys; print(*(type(finder).__name__ for finder in sys.meta_path))'


def build(kind: str, folder: Path) -> tuple[Path, Path]:
    """Build a wheel of `kind`. Return the wheel and the copy of the checkout that it was built from."""
    checkout = folder / 'checkout'
    skip = shutil.ignore_patterns('__pycache__', '*.egg-info')
    for name in ('usrdu_basicsr', 'build_backend', 'options'):
        shutil.copytree(ROOT / name, checkout / name, ignore=skip)
    for name in ('setup.py', 'pyproject.toml', 'README.md', 'LICENSE', 'MANIFEST.in'):
        shutil.copy(ROOT / name, checkout)
    code = f'import usrdu_build; print(usrdu_build.build_{kind}({str(folder)!r}))'
    output = check_python('-c', code, cwd=checkout, PYTHONPATH=str(checkout / 'build_backend'))
    return folder / output.split()[-1], checkout


@pytest.fixture(scope='module', params=['wheel', 'editable'])
def built(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return build(request.param, tmp_path_factory.mktemp(request.param))


@pytest.fixture(scope='module')
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty virtual environment."""
    pytest.importorskip('ensurepip', reason='this Python cannot create virtual environments with pip')
    folder = tmp_path_factory.mktemp('environment')
    venv.create(folder, with_pip=True, symlinks=os.name != 'nt')
    return folder


def python_of(environment: Path) -> Path:
    return environment / ('Scripts/python.exe' if os.name == 'nt' else 'bin/python')


def site_packages(environment: Path) -> Path:
    (pip,) = environment.glob('[Ll]ib/**/site-packages/pip')
    return pip.parent


def run_in(environment: Path, *arguments: str | Path, hook: str = '1') -> str:
    output = run_python(
        *arguments, cwd=environment, python=python_of(environment), PYTHONPATH='', USRDU_BASICSR_HOOK=hook
    )
    assert output.returncode == 0, output.stdout + output.stderr
    assert output.stderr == ''
    return output.stdout


def test_every_file_is_recorded(built: tuple[Path, Path]):
    with zipfile.ZipFile(built[0]) as wheel:
        (record,) = (name for name in wheel.namelist() if name.endswith('.dist-info/RECORD'))
        rows = {name: (digest, size) for name, digest, size in csv.reader(wheel.read(record).decode().splitlines())}
        assert PTH in rows
        assert sorted(rows) == sorted(wheel.namelist())
        for name in set(rows) - {record}:
            content = wheel.read(name)
            digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b'=').decode()
            assert rows[name] == (f'sha256={digest}', str(len(content)))
        assert wheel.read(PTH).decode().count('\n') == 1
        assert not any(name.startswith(('tests', 'build', 'options')) for name in rows)


RECIPES = {path.relative_to(ROOT / 'options').as_posix(): path.read_bytes() for path in ROOT.glob('options/*/*.yml')}


def recipes_in(wheel: Path) -> dict[str, bytes]:
    """Content of the recipes in a wheel, by their names in `options`."""
    prefix = 'usrdu_basicsr/recipes/'
    with zipfile.ZipFile(wheel) as archive:
        return {name[len(prefix) :]: archive.read(name) for name in archive.namelist() if name.startswith(prefix)}


def test_normal_wheels_contain_the_recipes(built: tuple[Path, Path], tmp_path: Path):
    wheel, _ = built
    if wheel.parent.name.startswith('editable'):
        assert recipes_in(wheel) == {}
        return
    assert 'track1/train_dsn.yml' in RECIPES and recipes_in(wheel) == RECIPES
    shutil.unpack_archive(wheel, tmp_path, 'zip')
    code = 'from usrdu_basicsr.options import recipes; print(recipes.recipes_folder())'
    folder = check_python('-c', code, cwd=tmp_path, PYTHONPATH=str(tmp_path)).strip()
    assert Path(folder) == tmp_path / 'usrdu_basicsr' / 'recipes'


def test_install_and_uninstall(built: tuple[Path, Path], environment: Path):
    wheel, checkout = built
    run_in(environment, '-m', 'pip', '-q', 'install', '--no-deps', '--no-index', wheel)
    pth = site_packages(environment) / PTH
    try:
        assert pth.is_file()
        # Help needs no dependency, and this environment has none
        assert run_in(environment, python_of(environment).with_name('usrdu'), '--help').startswith('usage: usrdu ')
        assert 'BasicSRFinder' in run_in(environment, '-c', FINDERS)
        assert 'BasicSRFinder' not in run_in(environment, '-c', FINDERS, hook='0')
        checkout.rename(checkout.with_name('moved away'))  # an editable install loses its package
        is_editable = not (site_packages(environment) / 'usrdu_basicsr').exists()
        assert ('BasicSRFinder' in run_in(environment, '-c', FINDERS)) != is_editable
    finally:
        run_in(environment, '-m', 'pip', '-q', 'uninstall', '-y', 'usrdu_basicsr')
    assert not pth.exists()
    assert 'BasicSRFinder' not in run_in(environment, '-c', FINDERS)


def test_basicsr_launcher_in_a_virtual_environment(tmp_path: Path, environment: Path):
    wheel, _ = build('wheel', tmp_path)
    run_in(environment, '-m', 'pip', '-q', 'install', '--no-deps', '--no-index', wheel)
    # Packages of this Python without its .pth files, except for the one that provides distutils, which BasicSR imports.
    paths = sysconfig.get_paths()
    lines = [paths['purelib'], paths['platlib'], str(Path(basicsr.__file__).parents[1])]
    distutils = Path(paths['purelib'], 'distutils-precedence.pth')
    lines += distutils.read_text().splitlines() if distutils.exists() else []
    (site_packages(environment) / 'outer.pth').write_text('\n'.join(lines))

    command = ['-m', 'basicsr.train', '-opt', 'none.yml']
    result = run_python(*command, cwd=tmp_path, python=python_of(environment), PYTHONPATH='', USRDU_BASICSR_HOOK='1')
    assert result.returncode == 1
    assert result.stderr.splitlines()[-1].startswith("error: -opt: options file 'none.yml' does not exist")


def test_source_archive_contains_the_build_backend(tmp_path: Path):
    wheel, checkout = build('wheel', tmp_path)
    code = f'import usrdu_build; print(usrdu_build.build_sdist({str(tmp_path)!r}))'
    name = check_python('-c', code, cwd=checkout, PYTHONPATH=str(checkout / 'build_backend')).split()[-1]
    shutil.unpack_archive(tmp_path / name, tmp_path)
    (unpacked,) = (path.parent for path in tmp_path.glob('usrdu_basicsr-*/setup.py'))
    assert (unpacked / 'build_backend' / 'usrdu_build.py').is_file()
    assert (unpacked / 'build_backend' / PTH).is_file()
    assert (unpacked / 'usrdu_basicsr' / 'compat' / 'hook.py').is_file()
    code = f'import usrdu_build; print(usrdu_build.build_wheel({str(tmp_path / "again")!r}))'
    (tmp_path / 'again').mkdir()
    name = check_python('-c', code, cwd=unpacked, PYTHONPATH=str(unpacked / 'build_backend')).split()[-1]
    assert name == wheel.name and recipes_in(tmp_path / 'again' / name) == RECIPES
