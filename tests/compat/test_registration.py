"""Registration in BasicSR's registries, by the hook and by importing this package."""

import subprocess
import sys
from pathlib import Path

import pytest
from basicsr.utils import registry

import usrdu_basicsr
from python_process import INSTALL_HOOK, ROOT, check_python, run_python
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


FORK = {
    'options': {'utils/options.py': 'def parse(): pass'},  # an older copy, as in CodeFormer
    'archs': {  # everything that is checked, but not what the classes of this package use
        'utils/options.py': 'def parse_options(): pass',
        'utils/file_client.py': 'class LmdbBackend: pass',
        'utils/dist_util.py': 'def init_dist(): pass',
        'data/__init__.py': '',
        'data/prefetch_dataloader.py': 'class PrefetchDataLoader: pass',
        'models/__init__.py': '',
        'models/base_model.py': 'class BaseModel: pass',
    },
}


@pytest.mark.parametrize(
    ('missing', 'message'), [('options', 'got no utils.options.parse_options'), ('archs', 'archs')]
)
def test_another_projects_basicsr_is_left_unchanged(tmp_path: Path, missing: str, message: str):
    files = {'__init__.py': '', 'utils/__init__.py': '', **FORK[missing]}
    files['utils/registry.py'] = Path(registry.__file__).read_text()
    for name, content in files.items():
        path = tmp_path / 'basicsr' / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    code = f"""
import os, sys
sys.path.insert(0, os.getcwd())
{INSTALL_HOOK}
import basicsr
from basicsr.utils import options, registry
import basicsr.utils.registry as registry
assert list(registry.MODEL_REGISTRY) == list(registry.DATASET_REGISTRY) == []
function = getattr(options, 'parse_options', None) or options.parse
assert function.__module__ == 'basicsr.utils.options' and os.path.dirname(basicsr.__file__).startswith(os.getcwd())
from usrdu_basicsr import register
try: register()
except (ValueError, ImportError) as error: print(error)
"""
    result = run_python('-c', code, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert message in result.stdout
    assert result.stderr.count('RuntimeWarning: usrdu_basicsr is not registered: ') == 1 and message in result.stderr
    assert 'Traceback' not in result.stderr


@pytest.mark.parametrize('module', ['archs.dsn_arch', 'inference.load_network', 'options.checking'])
def test_importing_a_module_of_this_package_first(tmp_path: Path, module: str):
    # These modules import BasicSR. This registers other modules, which may import the partially loaded first one.
    code = f'import usrdu_basicsr.{module}; import usrdu_basicsr.models.dsn_model'
    assert 'not registered' not in run_python('-c', code, cwd=tmp_path).stderr


def test_launcher_run_as_a_file(tmp_path: Path):
    # Python adds the folder of the launcher to `sys.path`; `test.py` in it has the name of a standard module
    launcher = ROOT / 'usrdu_basicsr' / 'test.py'
    result = subprocess.run(
        [sys.executable, launcher, '-opt', 'none.yml'], cwd=tmp_path, capture_output=True, text=True, timeout=300
    )
    assert result.returncode == 1
    assert result.stderr.splitlines()[-1].startswith("error: -opt: options file 'none.yml' does not exist")
