"""`usrdu` as a command: help, completion, equal scripts, and errors."""

import argparse
import sys
from pathlib import Path
from types import ModuleType

import pytest
from basicsr.utils import options as basicsr_options

from python_process import ROOT, check_python, check_script, run_script
from usrdu_basicsr.cli.main import COMMANDS
from usrdu_basicsr.version import __version__

USRDU = ('-m', 'usrdu_basicsr')
SCRIPTS = {
    'audit': 'audit',
    'calibrate': 'calibrate',
    'camera': 'measure_camera',
    'check': 'check_dataset',
    'convert': 'convert_checkpoint',
    'export': 'export',
    'fit': 'fit',
    'generate': 'generate_lr',
    'kernels': 'estimate_kernels',
    'lmdb': 'create_lmdb',
    'report': 'report',
    'subimages': 'extract_subimages',
    'upscale': 'inference',
}
HEAVY = ('torch', 'basicsr', 'cv2', 'numpy', 'yaml', 'pydantic', 'argcomplete')
HELP_OF_ALL = f"""
import sys
from usrdu_basicsr.cli.main import main
for arguments in [], *([name] for name in {list(COMMANDS)}):
    sys.argv = ['usrdu', *arguments, '--help']
    try:
        main()
    except SystemExit as error:
        assert error.code == 0
print('imported', *(name for name in {HEAVY} if name in sys.modules))
"""


def test_help_is_cheap(tmp_path: Path):
    output = check_python('-c', HELP_OF_ALL, cwd=tmp_path)
    assert output.endswith('\nimported\n')
    for name, (module, help_text) in COMMANDS.items():
        assert f'usage: usrdu {name} ' in output and help_text in ' '.join(output.split())
        assert module.__doc__.splitlines()[0].split()[0] in output


def test_version(tmp_path: Path):
    assert check_script(*USRDU, '--version', cwd=tmp_path) == f'usrdu {__version__}\n'


@pytest.mark.parametrize('name', SCRIPTS)
def test_script_and_command_have_the_same_help(name: str, tmp_path: Path):
    script = ROOT / 'scripts' / f'{SCRIPTS[name]}.py'
    wide = {'COLUMNS': '1000'}  # the wrapping of lines depends on the length of the program's name
    of_script = check_script(script, '-h', cwd=tmp_path, **wide)
    assert of_script.startswith(f'usage: {script.name} ')
    of_command = check_script(*USRDU, name, '-h', cwd=tmp_path, **wide)
    assert of_script.replace(script.name, f'usrdu {name}', 1) == of_command


@pytest.mark.parametrize('name', ['train', 'test'])
def test_launcher_arguments_are_those_of_basicsr(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    class ParserFoundError(Exception):
        pass

    def arguments_of(parser: argparse.ArgumentParser) -> dict:
        return {a.dest: (a.option_strings, a.nargs, a.default, a.type, a.required) for a in parser._actions}

    def parse_args(parser: argparse.ArgumentParser) -> None:
        found.append(arguments_of(parser))
        raise ParserFoundError

    def choices_of(parser: argparse.ArgumentParser) -> list:
        return [list(action.choices) for action in parser._actions if action.choices]

    found: list[dict] = []
    monkeypatch.setattr(argparse.ArgumentParser, 'parse_args', parse_args)
    (tmp_path / 'other.yml').write_text('model_type: SRModel\n')
    monkeypatch.setattr(sys, 'argv', ['train.py', '-opt', str(tmp_path / 'other.yml')])
    with pytest.raises(ParserFoundError):
        basicsr_options.parse_options('.', True)
    parser = argparse.ArgumentParser()
    COMMANDS[name][0].add_arguments(parser)
    expected = found[0] | {'opt': (*found[0]['opt'][:3], None, True)}  # `type=str` is the default
    assert arguments_of(parser) == expected
    assert choices_of(parser) == [['none', 'pytorch', 'slurm']]


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        ((), 'usrdu: error: the following arguments are required: COMMAND'),
        (('upscal',), "usrdu: error: argument COMMAND: invalid choice: 'upscal' (choose from "),
        (
            ('fit', '--hr', 'a', '--lr', 'b', '--val-hr=c'),
            'usrdu fit: error: unrecognized arguments: --val-hr=c. Did you mean --val_hr?',
        ),
        (('report', 'a', 'b'), 'usrdu report: error: unrecognized arguments: b'),
        (('train',), 'usrdu train: error: the following arguments are required: -opt'),
        (('train', '-opt', 'a.yml', '--launcher', 'mpi'), "argument --launcher: invalid choice: 'mpi'"),
        (('check',), 'usrdu check: error: pass either -opt FILE, or --gt, --lq or both'),
        (('check', '--gt', 'hr', '--pairs'), '--pairs and --log_scale need both --gt and --lq'),
        (('lmdb', '-i', 'a', 'b', '-o', 'c'), '-o: got 2 inputs, expected one. Omit -o or pass one input'),
        (
            ('subimages', '-i', 'a', '-o', 'c.lmdb', '--generated', 'b'),
            "-o: got 'c.lmdb', expected a folder with --generated. Remove .lmdb and pass --lmdb",
        ),
        (('generate', '-i', 'a', '-o', 'b', '--model_path', 'c', '--tile', '0'), '--tile: got 0, expected an integer'),
        (('kernels', '-i', 'a', '-o', 'b', '--seed', '-1'), 'argument --seed: got -1, expected an integer >= 0'),
    ],
)
def test_usage_error(arguments: tuple[str, ...], message: str, tmp_path: Path):
    result = run_script(*USRDU, *arguments, cwd=tmp_path)
    assert result.returncode == 2 and result.stdout == ''
    assert message in result.stderr.splitlines()[-1] and result.stderr.startswith('usage: usrdu')


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (('train', '-opt', 'none.yml'), "error: -opt: options file 'none.yml' does not exist"),
        (('test', '-opt', 'none.yml'), "error: -opt: options file 'none.yml' does not exist"),
        (('lmdb', '-i', 'nowhere'), "error: folder 'nowhere' does not exist"),
        (('check', '-opt', 'none.yml'), "error: -opt: options file 'none.yml' does not exist"),
        (('upscale', '-i', 'a', '-o', 'b', '--model_path', 'c.pth'), "error: checkpoint 'c.pth' does not exist"),
    ],
)
def test_error_is_one_line(arguments: tuple[str, ...], message: str, tmp_path: Path):
    result = run_script(*USRDU, *arguments, cwd=tmp_path)
    assert result.returncode == 1 and result.stdout == ''
    assert result.stderr.startswith(message) and result.stderr.count('\n') == 1


def completions(line: str, folder: Path, words_of_program: int = 1) -> list[str]:
    """Completions of a line as the shell asks for them, with the number of words that the program's name has."""
    file = folder / 'completions.txt'
    variables = {'_ARGCOMPLETE': str(words_of_program), '_ARGCOMPLETE_STDOUT_FILENAME': str(file), 'COMP_LINE': line}
    code = "import sys; sys.modules['torch'] = None; from usrdu_basicsr.cli.main import main; main()"
    start = ('-c', code) if words_of_program == 1 else USRDU
    check_python(*start, cwd=folder, **variables, COMP_POINT=str(len(line)), _ARGCOMPLETE_SHELL='bash')
    found = file.read_text().split('\v')
    file.unlink()
    return [word.strip() for word in found]


@pytest.mark.parametrize(
    ('line', 'words_of_program', 'expected'),
    [
        ('usrdu ', 1, [*COMMANDS, '-h', '--help', '--version']),
        ('usrdu up', 1, ['upscale']),
        ('python -m usrdu_basicsr sub', 3, ['subimages']),
        ('usrdu generate --m', 1, ['--model_path']),
        ('usrdu train --launcher p', 1, ['pytorch']),
        ('usrdu train --a', 1, ['--auto_resume']),
        ('usrdu export --format pt2 on', 1, ['onnx']),
        ('usrdu train -opt opt', 1, ['options.yml']),
    ],
)
def test_completion(line: str, words_of_program: int, expected: list[str], tmp_path: Path):
    (tmp_path / 'options.yml').touch()
    assert sorted(completions(line, tmp_path, words_of_program)) == sorted(expected)


def test_argcomplete_recognizes_the_command():
    for path in ('cli/main.py', '__main__.py'):  # the module of the entry point, and that of `python -m`
        assert 'PYTHON_ARGCOMPLETE_OK' in (ROOT / 'usrdu_basicsr' / path).read_text()[:1024]


def test_every_command_has_the_same_interface():
    for module, _ in COMMANDS.values():
        assert isinstance(module, ModuleType) and module.__doc__
        assert callable(module.add_arguments) and callable(module.run)
