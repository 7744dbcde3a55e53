"""Runs Python in processes of their own, for what depends on a fresh interpreter."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
INSTALL_HOOK = 'import usrdu_basicsr.compat.hook as hook; hook.install()'


def run_python(*arguments: str | Path, cwd: Path, python: str | Path = sys.executable, **environment: str):
    """Run in `cwd` with this checkout importable and an installed hook switched off; `environment` comes on top."""
    variables = {'PYTHONPATH': str(ROOT), 'USRDU_BASICSR_HOOK': '0', 'OMP_NUM_THREADS': '1', **environment}
    return subprocess.run(
        [python, *arguments], cwd=cwd, env={**os.environ, **variables}, capture_output=True, text=True, timeout=300
    )


def check_python(*arguments: str | Path, cwd: Path, python: str | Path = sys.executable, **environment: str) -> str:
    """The same for a run that must succeed: its standard output."""
    result = run_python(*arguments, cwd=cwd, python=python, **environment)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout
