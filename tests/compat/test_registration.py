"""Registration in BasicSR's registries, by the hook and by importing this package."""

import subprocess
import sys
from pathlib import Path

import pytest
from basicsr.utils import registry

import usrdu_basicsr
from python_process import INSTALL_HOOK, ROOT, check_python
from usrdu_basicsr.compat import registration

pytestmark = pytest.mark.slow

REGISTRIES = {
    'archs': registry.ARCH_REGISTRY,
    'losses': registry.LOSS_REGISTRY,
    'data': registry.DATASET_REGISTRY,
    'models': registry.MODEL_REGISTRY,
    'metrics': registry.METRIC_REGISTRY,
}


def test_all_registering_modules_are_listed():
    files = (ROOT / 'usrdu_basicsr').rglob('*.py')
    registering = [path for path in files if '_REGISTRY.register()' in path.read_text()]
    listed = [ROOT / 'usrdu_basicsr' / f'{module.replace(".", "/")}.py' for module in registration.MODULES]
    assert sorted(registering) == sorted(listed)
    for module in registration.MODULES:
        registered = {value.__module__ for _, value in REGISTRIES[module.partition('.')[0]]}
        assert f'usrdu_basicsr.{module}' in registered


def test_register_is_idempotent():
    before = {folder: dict(iter(entries)) for folder, entries in REGISTRIES.items()}
    usrdu_basicsr.register()
    assert {folder: dict(iter(entries)) for folder, entries in REGISTRIES.items()} == before


def test_registration_by_the_hook(tmp_path: Path):
    code = 'from basicsr.utils.registry import ARCH_REGISTRY as A, MODEL_REGISTRY as M'
    output = check_python(
        '-c', f'{INSTALL_HOOK}\n{code}\nprint("UncertaintyDSN" in A, "GradientGANModel" in M)', cwd=tmp_path
    )
    assert output.split() == ['True', 'True']


@pytest.mark.parametrize('module', ['archs.dsn_arch', 'inference.load_network', 'options.checking'])
def test_importing_a_module_of_this_package_first(tmp_path: Path, module: str):
    # These modules import BasicSR. This registers other modules, which may import the partially loaded first one.
    check_python('-c', f'import usrdu_basicsr.{module}; import usrdu_basicsr.models.dsn_model', cwd=tmp_path)


def test_launcher_run_as_a_file(tmp_path: Path):
    # Python adds the folder of the launcher to `sys.path`; `test.py` in it has the name of a standard module
    launcher = ROOT / 'usrdu_basicsr' / 'test.py'
    result = subprocess.run(
        [sys.executable, launcher, '-opt', 'none.yml'], cwd=tmp_path, capture_output=True, text=True, timeout=300
    )
    assert result.returncode == 1
    assert result.stderr.splitlines()[-1].startswith("error: -opt: options file 'none.yml' does not exist")
