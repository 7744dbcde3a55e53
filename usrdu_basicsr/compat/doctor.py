"""Report of the environment: versions, devices, start-up hook, patches, optional packages and known conflicts.

This module imports only the standard library. `probes` imports torch and BasicSR, in processes of its own.
"""

import json
import os
import platform
import shutil
import site
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from importlib import metadata, util
from pathlib import Path

from usrdu_basicsr.version import __version__

PACKAGE = Path(__file__).parents[1]
PROBE_TIMEOUT = 300  # seconds
# Where `import basicsr` finds it, and whether the start-up file has run; as in `python -m basicsr.train`
START_UP = """
import importlib.util, json, sys
hook = 'usrdu_basicsr' in sys.modules
spec = importlib.util.find_spec('basicsr')
print(json.dumps({'hook': hook, 'basicsr': spec and spec.origin}))
"""
PROBE = 'import json; from usrdu_basicsr.compat import probes; print(json.dumps(probes.{}()))'
PACKAGES = ('basicsr', 'torch', 'torchvision', 'numpy', 'opencv-python', 'lmdb', 'setuptools')
REQUIRED = {'cv2': 'opencv-python', 'yaml': 'pyyaml', 'PIL': 'Pillow'} | {
    name: name
    for name in (
        'basicsr',
        'torch',
        'torchvision',
        'numpy',
        'pydantic',
        'lmdb',
        'tqdm',
        'psutil',
        'safetensors',
        'scipy',
    )
}
# Modules by feature, and the command that installs them
FEATURES = {
    'export': (('safetensors', 'onnx', 'onnxruntime', 'onnxscript'), "pip install 'usrdu_basicsr[export]'"),
    'KernelGAN': (('scipy',), 'pip install scipy'),
    'LPIPS and DISTS': (('torchmetrics',), "pip install 'usrdu_basicsr[metrics]'"),
    'other architectures': (('spandrel',), "pip install 'usrdu_basicsr[spandrel]'"),
    'tests': (('pytest', 'xdist', 'ruff', 'mypy', 'importlinter'), "pip install 'usrdu_basicsr[test]'"),
    'shell completion': (('argcomplete',), 'pip install argcomplete'),
}


@dataclass
class Report:
    """Report of the environment.

    Args:
        sections: Lines `key: value` by section.
        problems: What prevents trainings, with remedies.
        warnings: What prevents anything else, with remedies.
    """

    sections: dict[str, dict[str, str]] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def examine() -> Report:
    """Examine this environment, which may be broken, as seen from the current folder."""
    report = Report()
    with ThreadPoolExecutor() as threads:
        codes = (START_UP, PROBE.format('devices'), PROBE.format('basicsr'))
        start_up, devices, basicsr = threads.map(_run, codes)
    report.sections['versions'] = _versions()
    report.sections['devices'] = devices
    report.sections['devices']['free disk space'] = f'{shutil.disk_usage(os.curdir).free / (1 << 30):.1f} GiB'
    report.sections['start-up hook'] = _hook(start_up, report)
    report.sections['BasicSR'] = basicsr | {'location': start_up.get('basicsr') or 'not found'}
    for error in dict.fromkeys(probed['error'] for probed in (devices, basicsr) if 'error' in probed):
        report.problems.append(f'torch or BasicSR cannot be used: {error}. Install or reinstall what this names')
    if basicsr.get('registered') == 'no':
        report.problems.append('import basicsr does not register the models of this package. Reinstall both packages')
    report.sections['features'] = _features(gpu='cuda:0' in devices)
    _check_packages(report, start_up)
    return report


def _run(code: str) -> dict[str, str]:
    """Run code that prints JSON in a new process. If it fails, return the last line of its errors as `error`."""
    try:
        result = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, timeout=PROBE_TIMEOUT)
    except subprocess.TimeoutExpired:
        return {'error': f'no answer within {PROBE_TIMEOUT} s'}
    if result.returncode == 0:
        return json.loads(result.stdout.splitlines()[-1])  # libraries may print, too
    if result.returncode < 0:
        return {'error': f'ended by signal {-result.returncode}'}
    return {'error': (result.stderr.strip().splitlines() or [f'exit status {result.returncode}'])[-1]}


def _version_of(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _versions() -> dict[str, str]:
    versions = {'python': platform.python_version(), 'platform': platform.platform()}
    versions['usrdu_basicsr'] = f'{__version__} in {PACKAGE}'
    return versions | {name: _version_of(name) or 'not installed' for name in PACKAGES}


def _hook(start_up: dict[str, str], report: Report) -> dict[str, str]:
    folders = [*site.getsitepackages(), site.getusersitepackages()]
    files = [str(path) for folder in folders if (path := Path(folder, 'usrdu_basicsr.pth')).is_file()]
    is_disabled = os.environ.get('USRDU_BASICSR_HOOK') == '0'
    if not start_up.get('hook'):
        remedy = 'Unset USRDU_BASICSR_HOOK' if is_disabled else 'Run pip install usrdu_basicsr'
        report.warnings.append(
            f"BasicSR's own launchers do not know this package. {remedy}, or run python -m usrdu_basicsr.train"
        )
    return {
        'file': ', '.join(files) or 'not installed',
        'USRDU_BASICSR_HOOK': 'disabled (0)' if is_disabled else 'enabled',
        'import basicsr registers': 'yes' if start_up.get('hook') else 'no',
    }


def _has(module: str) -> bool:
    return util.find_spec(module) is not None


def _features(gpu: bool) -> dict[str, str]:
    features = {}
    for feature, (modules, remedy) in FEATURES.items():
        missing = ', '.join(module for module in modules if not _has(module))
        features[feature] = f'missing {missing}. Run {remedy}' if missing else 'available'
    # The compilers that torch.compile calls by default
    compiler = {'win32': 'cl', 'darwin': 'clang++'}.get(sys.platform, 'g++')
    tools = {f'C++ compiler {compiler}': shutil.which(os.environ.get('CXX', compiler)) is not None}
    if gpu:
        tools['triton'] = _has('triton')
    missing = ' and '.join(tool for tool, found in tools.items() if not found)
    features['torch.compile'] = f'missing {missing}. Install it' if missing else 'available'
    return features


def _check_packages(report: Report, start_up: dict[str, str]) -> None:
    """Report missing requirements and known conflicts."""
    missing = [package for module, package in REQUIRED.items() if not _has(module)]
    if missing:
        report.problems.append(f'missing {", ".join(missing)}. Run pip install {" ".join(missing)}')
    if not (3, 10) <= sys.version_info[:2] <= (3, 12):
        report.problems.append(f'Python: got {platform.python_version()}, expected 3.10, 3.11 or 3.12. Use one of them')
    setuptools = _version_of('setuptools') or 'not installed'
    if not setuptools.partition('.')[0].isdigit() or int(setuptools.partition('.')[0]) >= 82:
        report.problems.append(
            f"setuptools: got {setuptools}, expected < 82 for BasicSR and tb-nightly. Run pip install 'setuptools<82'"
        )
    if _version_of('tensorboard') and _version_of('tb-nightly'):
        report.warnings.append(
            'tensorboard and tb-nightly contain the same package, and the command tensorboard fails. Run pip uninstall'
            ' tensorboard tb-nightly, then pip install tb-nightly'
        )
    builds = [name for name in ('opencv-python', 'opencv-python-headless') if _version_of(name)]
    if len(builds) > 1:
        report.warnings.append(f'{" and ".join(builds)} contain the same package. Uninstall both, then install one')
    if (used := start_up.get('basicsr')) and _version_of('basicsr'):
        installed = Path(str(metadata.distribution('basicsr').locate_file('basicsr')))
        if Path(used).parent.resolve() != installed.resolve():
            report.warnings.append(
                f"import basicsr finds '{used}' instead of the installed '{installed}'. Rename or leave its folder if"
                ' this is not intended'
            )
