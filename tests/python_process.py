"""Run Python in a new process, for tests that need a fresh interpreter."""

import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).parents[1]
INSTALL_HOOK = 'import usrdu_basicsr.compat.hook as hook; hook.install()'


def run_python(*arguments: str | Path, cwd: Path, python: str | Path = sys.executable, **environment: str):
    """Run in `cwd` with this checkout importable and an installed hook disabled; `environment` overrides variables."""
    variables = {'PYTHONPATH': str(ROOT), 'USRDU_BASICSR_HOOK': '0', 'OMP_NUM_THREADS': '1', **environment}
    return subprocess.run(
        [python, *arguments], cwd=cwd, env={**os.environ, **variables}, capture_output=True, text=True, timeout=300
    )


def check_python(*arguments: str | Path, cwd: Path, python: str | Path = sys.executable, **environment: str) -> str:
    """Return the standard output of `run_python`, which must succeed."""
    result = run_python(*arguments, cwd=cwd, python=python, **environment)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


@cache
def _script_server() -> subprocess.Popen:
    """Server of this test process. It exits when its standard input closes."""
    environment = {**os.environ, 'PYTHONPATH': str(ROOT), 'USRDU_BASICSR_HOOK': '0', 'OMP_NUM_THREADS': '1'}
    command = [sys.executable, ROOT / 'tests' / 'script_server.py']
    return subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def run_script(script: Path, *arguments: str | Path, cwd: Path, **environment: str) -> subprocess.CompletedProcess:
    """Run a script as `run_python` does, in a fork of a process that has imported PyTorch and BasicSR already."""
    with TemporaryDirectory() as folder:
        files = {name: os.path.join(folder, name) for name in ('stdout', 'stderr')}
        command = [str(part) for part in (script, *arguments)]
        request = {'arguments': command, 'cwd': str(cwd), 'environment': environment, **files}
        server = _script_server()
        server.stdin.write(json.dumps(request) + '\n')
        server.stdin.flush()
        status = int(server.stdout.readline())
        output = {name: Path(file).read_text() for name, file in files.items()}
        return subprocess.CompletedProcess(command, status, **output)


def check_script(script: Path, *arguments: str | Path, cwd: Path, **environment: str) -> str:
    """Return the standard output of `run_script`, which must succeed."""
    result = run_script(script, *arguments, cwd=cwd, **environment)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout
