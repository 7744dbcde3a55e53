"""The environment report names what is broken, missing or in conflict, and works in a broken environment."""

import re
import sys
from importlib import metadata, util
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from python_process import ROOT
from usrdu_basicsr.compat import doctor, probes
from usrdu_basicsr.export.export import FORMATS
from usrdu_basicsr.utils.errors import InputError
from usrdu_basicsr.utils.precision import PRECISIONS, Precision


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Empty current folder, in which the processes of the report import this checkout."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('PYTHONPATH', str(ROOT))
    monkeypatch.setenv('USRDU_BASICSR_HOOK', '0')
    return tmp_path


def packages(monkeypatch: pytest.MonkeyPatch, **versions: str | None) -> doctor.Report:
    """Report on packages with these versions (`_` for `-`); others are as installed."""
    installed = doctor._version_of
    named = {name.replace('_', '-'): version for name, version in versions.items()}
    monkeypatch.setattr(doctor, '_version_of', lambda name: named[name] if name in named else installed(name))
    report = doctor.Report()
    doctor._check_packages(report, {})
    return report


COMPATIBLE = {'tensorboard': None, 'tb_nightly': '2', 'setuptools': '81.0', 'opencv_python_headless': None}


def test_no_conflict(monkeypatch: pytest.MonkeyPatch):
    report = packages(monkeypatch, **COMPATIBLE)
    assert report.problems == report.warnings == []


@pytest.mark.parametrize('version', ['82.0.1', '100', None])
def test_setuptools(monkeypatch: pytest.MonkeyPatch, version: str | None):
    (problem,) = packages(monkeypatch, **COMPATIBLE | {'setuptools': version}).problems
    assert problem == (
        f'setuptools: got {version or "not installed"}, expected < 82 for BasicSR and tb-nightly.'
        " Run pip install 'setuptools<82'"
    )


def test_packages_that_overwrite_each_other(monkeypatch: pytest.MonkeyPatch):
    both = {'tensorboard': '2', 'opencv_python_headless': '4', 'opencv_python': '4'}
    report = packages(monkeypatch, **COMPATIBLE | both)
    assert report.problems == []
    assert report.warnings[0].startswith('tensorboard and tb-nightly contain the same package')
    assert report.warnings[1].startswith('opencv-python and opencv-python-headless contain the same package')


def test_missing_packages(monkeypatch: pytest.MonkeyPatch):
    found = util.find_spec
    absent = {'lmdb', 'yaml', 'onnx', 'argcomplete', 'triton'}
    monkeypatch.setattr(doctor.util, 'find_spec', lambda name: None if name in absent else found(name))
    assert packages(monkeypatch, **COMPATIBLE).problems == ['missing pyyaml, lmdb. Run pip install pyyaml lmdb']
    monkeypatch.setattr(doctor.shutil, 'which', lambda name: None)
    monkeypatch.setattr(sys, 'platform', 'linux')
    features = doctor._features(gpu=True)
    assert features['export'] == "missing onnx. Run pip install 'usrdu_basicsr[export]'"
    assert features['shell completion'] == 'missing argcomplete. Run pip install argcomplete'
    assert features['torch.compile'] == 'missing C++ compiler g++ and triton. Install it'
    assert doctor._features(gpu=False)['torch.compile'] == 'missing C++ compiler g++. Install it'


def test_tables_agree_with_setup():
    """A new requirement of trainings in setup.py has to be added to `REQUIRED`; argcomplete is a feature."""
    source = (ROOT / 'setup.py').read_text()
    block = re.search(r'install_requires=\[(.*?)\n    \]', source, re.DOTALL)[1]
    required = set(re.findall(r"^ +'([A-Za-z-]+)", block, re.MULTILINE))
    assert set(doctor.REQUIRED.values()) == required - {'setuptools', 'argcomplete'}
    assert set(doctor.FEATURES['export'][0]) == {name for entry in FORMATS.values() for name in entry.packages}


def test_versions():
    versions = doctor._versions()
    assert versions['torch'] == metadata.version('torch') and versions['basicsr'] == metadata.version('basicsr')
    assert versions['usrdu_basicsr'].endswith(f' in {ROOT / "usrdu_basicsr"}')


def test_hook(here: Path, monkeypatch: pytest.MonkeyPatch):
    site_packages = here / 'site'
    site_packages.mkdir()
    monkeypatch.setattr(doctor.site, 'getsitepackages', lambda: [str(site_packages)])
    monkeypatch.setattr(doctor.site, 'getusersitepackages', lambda: str(here / 'none'))
    report = doctor.Report()
    assert doctor._hook({'hook': False}, report) == {
        'file': 'not installed',
        'USRDU_BASICSR_HOOK': 'disabled (0)',
        'import basicsr registers': 'no',
    }
    monkeypatch.delenv('USRDU_BASICSR_HOOK')
    file = site_packages / 'usrdu_basicsr.pth'
    file.touch()
    assert doctor._hook({'hook': False}, report)['file'] == str(file)
    assert [warning.partition('. ')[2] for warning in report.warnings] == [
        'Unset USRDU_BASICSR_HOOK, or run python -m usrdu_basicsr.train',
        'Run pip install usrdu_basicsr, or run python -m usrdu_basicsr.train',
    ]
    assert doctor._hook({'hook': True}, report)['import basicsr registers'] == 'yes' and len(report.warnings) == 2


def test_devices(monkeypatch: pytest.MonkeyPatch):
    gpu = SimpleNamespace(name='Some GPU', major=9, minor=0, total_memory=80 << 30)
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    monkeypatch.setattr(torch.cuda, 'device_count', lambda: 1)
    monkeypatch.setattr(torch.cuda, 'get_device_properties', lambda index: gpu)
    monkeypatch.setattr(torch.cuda, 'get_device_capability', lambda device: (9, 0))
    monkeypatch.setattr(torch.cuda, 'mem_get_info', lambda device: (70 << 30, 80 << 30))
    monkeypatch.setattr(torch.cuda, 'memory_reserved', lambda device: 0)
    monkeypatch.setattr(torch.cuda, 'memory_allocated', lambda device: 0)
    report = probes.devices()
    assert report['cuda:0'] == ('Some GPU, compute capability 9.0, 80.0 GiB, 70.0 GiB free, fp32/tf32/bf16/fp16')
    assert report['cpu'].endswith(f'{torch.get_num_threads()} threads, {"/".join(cpu_precisions())}')
    assert re.fullmatch(r'\d+\.\d GiB', report['free memory'])


def cpu_precisions() -> list[str]:
    supported = []
    for name in PRECISIONS:
        try:
            Precision(name, torch.device('cpu'))
            supported.append(name)
        except InputError:
            pass
    return supported


@pytest.mark.parametrize('downloaded', [True, False])
def test_basicsr(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, downloaded: bool):
    monkeypatch.setattr(torch.hub, 'get_dir', lambda: str(tmp_path))
    path = tmp_path / 'checkpoints' / 'vgg19-dcbb9e9d.pth'
    if downloaded:
        path.parent.mkdir()
        path.touch()
    report = probes.basicsr()
    assert report['registered'] == 'yes'
    assert report['patch provide_functional_tensor'] == 'active. Without it, `import basicsr` fails.'
    assert sum(key.startswith('patch ') for key in report) == 7
    assert report['VGG19 weights'] == (
        str(path) if downloaded else f"not downloaded yet: the first training writes '{path}'"
    )


def test_broken_torch(here: Path):
    """Each process that imports it fails; the report goes on."""
    (here / 'torch').mkdir()
    (here / 'torch' / '__init__.py').write_text('raise OSError("libcudart.so: cannot open shared object file")\n')
    report = doctor.examine()
    error = 'OSError: libcudart.so: cannot open shared object file'
    assert report.problems == [
        f'torch or BasicSR cannot be used: {error}. Install or reinstall what this names',
    ]
    assert report.sections['devices']['error'] == report.sections['BasicSR']['error'] == error
    assert report.sections['versions']['torch'] == metadata.version('torch')
    assert re.fullmatch(r'\d+\.\d GiB', report.sections['devices']['free disk space'])


def test_another_basicsr(here: Path):
    """A folder `basicsr` in the current folder hides the installed package."""
    (here / 'basicsr').mkdir()
    (here / 'basicsr' / '__init__.py').touch()
    report = doctor.examine()
    assert report.sections['BasicSR']['location'] == str(here / 'basicsr' / '__init__.py')
    assert any(
        warning.startswith(f"import basicsr finds '{here}/basicsr/__init__.py' in") for warning in report.warnings
    )
    assert report.problems == [
        f"torch or BasicSR cannot be used: usrdu_basicsr.utils.errors.InputError: package basicsr '{here}/basicsr': got"
        ' no utils.options.parse_options,'
        ' expected BasicSR 1.4.2. Start Python in another folder, or remove the package from PYTHONPATH. Install or'
        ' reinstall what this names'
    ]


def test_process_that_crashes():
    assert doctor._run('import os; os.kill(os.getpid(), 11)') == {'error': 'ended by signal 11'}
    assert doctor._run('print("library"); print(\'{"a": "b"}\')') == {'a': 'b'}
    assert doctor._run('import sys; sys.exit(3)') == {'error': 'exit status 3'}
