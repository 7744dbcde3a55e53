"""Start-up hook, mostly with a fake `basicsr` package, because BasicSR takes seconds to import."""

from pathlib import Path

import pytest

from python_process import INSTALL_HOOK, ROOT, check_python, run_python

# Records the order of events in `builtins.events`, to which the fake `basicsr` also appends.
RECORD = f"""
import builtins, os, sys, types
builtins.events = []
sys.path[:0] = [os.getcwd(), {str(ROOT)!r}]
import usrdu_basicsr.compat
FAKES = dict(basicsr_patches='apply_before_import', registration='register')
for name, function in FAKES.items():
    module = types.ModuleType('usrdu_basicsr.compat.' + name)
    setattr(module, function, lambda event=function.replace('apply_', '').replace('_', ' '): events.append(event))
    setattr(usrdu_basicsr.compat, name, module)
    sys.modules[module.__name__] = module
{INSTALL_HOOK}
waiting = lambda: any(type(finder) is hook.BasicSRFinder for finder in sys.meta_path)
"""


@pytest.fixture
def basicsr(tmp_path: Path) -> Path:
    package = tmp_path / 'basicsr'
    (package / 'utils').mkdir(parents=True)
    (package / '__init__.py').write_text('events.append("execute")\n')
    (package / 'utils' / '__init__.py').touch()
    (package / 'utils' / 'registry.py').touch()
    (package / 'train.py').write_text('events.append(__name__)\n')
    return package


def events(code: str, cwd: Path) -> list[str]:
    # -S: no site-packages, so only the fake `basicsr` can be imported
    return check_python('-S', '-c', f'{RECORD}\n{code}\nprint(*events, sep="|")', cwd=cwd).strip().split('|')


def test_order_of_events(basicsr: Path):
    code = 'assert waiting()\nimport basicsr.utils.registry\nassert not waiting()'
    assert events(code, basicsr.parent) == ['before import', 'execute', 'register']


def test_run_as_a_module(basicsr: Path):
    code = 'import runpy; runpy.run_module("basicsr.train", run_name="__main__", alter_sys=True)'
    assert events(code, basicsr.parent) == ['before import', 'execute', 'register', '__main__']


def test_loader_keeps_its_methods(basicsr: Path):
    code = """
import basicsr, importlib, inspect, pkgutil
assert inspect.getsource(basicsr) == 'events.append("execute")\\n'
assert basicsr.__spec__.loader.get_code('basicsr').co_name == '<module>'
assert pkgutil.get_data('basicsr', 'train.py').startswith(b'events')
importlib.reload(basicsr)
"""
    assert events(code, basicsr.parent) == ['before import', 'execute', 'register', 'execute']


def test_hook_survives_find_spec(basicsr: Path):
    code = 'import importlib.util; importlib.util.find_spec("basicsr"); importlib.util.find_spec("basicsr")'
    assert events(code + '\nassert waiting()\nimport basicsr', basicsr.parent) == [
        'before import',
        'execute',
        'register',
    ]


def test_hook_survives_a_failed_import(basicsr: Path):
    (basicsr / '__init__.py').write_text('events.append("execute")\nif events.count("execute") == 1: raise OSError')
    code = 'try: import basicsr\nexcept OSError: pass\nimport basicsr'
    assert events(code, basicsr.parent) == ['before import', 'execute', 'before import', 'execute', 'register']


@pytest.mark.parametrize('missing', ['utils/registry.py', '__init__.py'])
def test_other_package_named_basicsr_is_unchanged(basicsr: Path, missing: str):
    (basicsr / missing).unlink()
    expected = ['execute'] if missing == 'utils/registry.py' else ['']
    assert events('import basicsr\nassert waiting()', basicsr.parent) == expected


def test_no_hook_after_the_import(basicsr: Path):
    code = 'import basicsr, usrdu_basicsr.compat.hook as hook; hook.install(); hook.install(); print(*sys.meta_path)'
    output = check_python('-c', f'import builtins, sys; builtins.events = []; {code}', cwd=basicsr.parent)
    assert 'BasicSRFinder' not in output


def test_missing_basicsr_raises_the_usual_error(tmp_path: Path):
    result = run_python('-S', '-c', f'{INSTALL_HOOK}; import basicsr', cwd=tmp_path)
    assert result.stderr.strip().endswith("ModuleNotFoundError: No module named 'basicsr'")


@pytest.mark.parametrize('start', [INSTALL_HOOK, 'import usrdu_basicsr'])
def test_imports_four_small_modules(tmp_path: Path, start: str):
    code = f'import os, sys; before = set(sys.modules); {start}; print(*sorted(set(sys.modules) - before))'
    modules = check_python('-S', '-c', code, cwd=tmp_path).split()
    assert modules == [f'usrdu_basicsr{name}' for name in ('', '.compat', '.compat.hook', '.version')]


@pytest.mark.parametrize(
    ('user', 'expected'),
    [({}, '1000'), ({'GOMP_SPINCOUNT': '7'}, '7'), ({'OMP_WAIT_POLICY': 'ACTIVE'}, 'None')],
)
def test_spinning_is_limited_before_torch_is_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, user: dict, expected: str
):
    (tmp_path / 'torch.py').write_text('import os; print(os.environ.get("GOMP_SPINCOUNT"))')
    code = f'import os, sys; sys.path.insert(0, os.getcwd()); {INSTALL_HOOK}; import torch'
    for name in ('GOMP_SPINCOUNT', 'OMP_WAIT_POLICY'):
        monkeypatch.delenv(name, raising=False)
    assert check_python('-S', '-c', code, cwd=tmp_path, **user).strip() == expected
