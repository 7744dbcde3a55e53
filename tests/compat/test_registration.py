"""What is in BasicSR's registries, and that it gets there however a program starts."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from basicsr.utils import registry

import usrdu_basicsr
from python_process import INSTALL_HOOK, ROOT, check_python

FOLDERS = {
    'archs': ('_arch', registry.ARCH_REGISTRY),
    'losses': ('_loss', registry.LOSS_REGISTRY),
    'data': ('_dataset', registry.DATASET_REGISTRY),
    'models': ('_model', registry.MODEL_REGISTRY),
    'metrics': ('_metric', registry.METRIC_REGISTRY),
}
MODULES = [
    (folder, path.stem)
    for folder, (suffix, _) in FOLDERS.items()
    for path in sorted((ROOT / 'usrdu_basicsr' / folder).glob(f'*{suffix}.py'))
]


@pytest.mark.parametrize(('folder', 'module'), MODULES)
def test_every_module_registers_something(folder: str, module: str):
    registered = {value.__module__ for _, value in FOLDERS[folder][1]}
    assert f'usrdu_basicsr.{folder}.{module}' in registered


def test_every_kind_has_modules():
    assert {folder for folder, _ in MODULES} == set(FOLDERS)


def test_registering_again_changes_nothing():
    before = {folder: dict(iter(entries)) for folder, (_, entries) in FOLDERS.items()}
    usrdu_basicsr.register()
    assert {folder: dict(iter(entries)) for folder, (_, entries) in FOLDERS.items()} == before


def test_through_the_hook(tmp_path: Path):
    code = 'from basicsr.utils.registry import ARCH_REGISTRY as A, MODEL_REGISTRY as M'
    output = check_python(
        '-c', f'{INSTALL_HOOK}\n{code}\nprint("UncertaintyDSN" in A, "GradientGANModel" in M)', cwd=tmp_path
    )
    assert output.split() == ['True', 'True']


@pytest.mark.parametrize('start', [INSTALL_HOOK, 'pass'], ids=['hook', 'no hook'])
def test_one_of_our_modules_imported_first(tmp_path: Path, start: str):
    # Its import of BasicSR brings in all the others, which may import from it in turn.
    code = 'from usrdu_basicsr.archs.dsn_arch import UncertaintyDSN; import usrdu_basicsr.models.dsn_model'
    check_python('-c', f'{start}\n{code}', cwd=tmp_path)


def test_a_launcher_run_as_a_file(tmp_path: Path):
    # without PYTHONPATH, and in a folder of modules named like Python's own `test`
    launcher = ROOT / 'usrdu_basicsr' / 'test.py'
    result = subprocess.run(
        [sys.executable, launcher, '-opt', 'none.yml'], cwd=tmp_path, capture_output=True, text=True, timeout=300
    )
    assert result.returncode == 1
    assert result.stderr.splitlines()[-1].startswith('error: -opt: the options file none.yml does not exist')
