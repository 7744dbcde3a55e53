"""What BasicSR's launchers do differently with this package: where they write, how they fail."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from usrdu_basicsr.compat.resume import is_ours
from usrdu_basicsr.utils.errors import InputError, InputNotFoundError, UserError

REQUIRED = ('name', 'num_gpu', 'datasets', 'path')


def parse_options(original: Callable[..., Any], root_path: str, is_train: bool) -> tuple[dict[str, Any], Any]:
    """BasicSR's `parse_options`, called with the folder to write into, and with the user's mistakes found here.

    Raises:
        UserError: The options file cannot be read, or a run of one of our models cannot work.
    """
    show_user_errors()
    check_options_file(sys.argv[1:])
    opt, args = original(working_root(root_path), is_train)
    if is_ours(opt):
        from usrdu_basicsr.options.preflight import check_run  # imports torch and our networks

        check_run(opt)
    return opt, args


def working_root(root_path: str) -> str:
    """The current folder if `root_path` is where BasicSR itself stands, otherwise `root_path`.

    BasicSR's launchers pass the parent of their package, which for an installed BasicSR is site-packages. Projects with
    launchers of their own pass their own folder.
    """
    import basicsr

    root = Path(root_path).resolve()
    program = getattr(sys.modules['__main__'], '__file__', None)
    launchers = [root / 'basicsr' / 'train.py', root / 'basicsr' / 'test.py']
    if root == Path(basicsr.__file__).resolve().parents[1] or (program and Path(program).resolve() in launchers):
        return os.getcwd()
    return root_path


def check_options_file(arguments: list[str]) -> None:
    """Raise a UserError unless the file after `-opt` holds what BasicSR's `parse_options` needs."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument('-opt')
    parser.add_argument('--force_yml', nargs='+', default=[])
    args, _ = parser.parse_known_args(arguments)
    if args.opt is None:
        return  # BasicSR's own parser says so
    options = read_options_file(args.opt)
    if not isinstance(options, Mapping):
        raise InputError(f'{args.opt}: expected a mapping of options, got {type(options).__name__}')
    forced = {entry.partition('=')[0].strip() for entry in args.force_yml}
    missing = [key for key in REQUIRED if key not in options and key not in forced]
    if missing:
        raise InputError(f'{args.opt}: missing {", ".join(missing)}; expected all of {", ".join(REQUIRED)}')
    if isinstance(seed := options.get('manual_seed'), int) and seed < 0:
        raise InputError(f'{args.opt}: manual_seed: got {seed}, expected a whole number from 0 on')
    sections = {key: options.get(key, {}) for key in ('datasets', 'path')}
    if isinstance(sections['datasets'], Mapping):
        sections |= {f'datasets: {phase}': dataset for phase, dataset in sections['datasets'].items()}
    for key, section in sections.items():
        if not isinstance(section, Mapping):
            raise InputError(f'{args.opt}: {key} is {section!r}, expected a mapping')


def read_options_file(path: str) -> Any:
    """What BasicSR would make of an options file, before it completes it; a UserError if it cannot be read."""
    import yaml
    from basicsr.utils.options import ordered_yaml

    try:
        with open(path) as file:  # in the same encoding as BasicSR reads it
            return yaml.load(file, Loader=ordered_yaml()[0])
    except FileNotFoundError as error:
        raise InputNotFoundError(f'-opt: the options file {path} does not exist (from {os.getcwd()})') from error
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f'-opt: cannot read the options file {path}: {error}') from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f' line {mark.line + 1}' if mark else ''
        raise InputError(f'-opt: {path}{line}: not valid YAML: {error.problem or error.context}') from error
    except yaml.YAMLError as error:
        raise InputError(f'-opt: {path}: not valid YAML: {error}') from error


def read_network_options(path: str) -> dict[str, Any]:
    """The options of a file whose `network_g` describes a network; a UserError if it does not."""
    options = read_options_file(path)
    if not isinstance(options, Mapping) or not isinstance(options.get('network_g'), Mapping):
        raise InputError(f"-opt: options file '{path}' has no network_g")
    return dict(options)


def _own_message(error: UserError) -> str:
    """The message; of an error that torch passed on from a data worker, without the traceback it put before it."""
    text = str(error)
    return text.strip().splitlines()[-1].partition('Error: ')[2] if text.startswith('Caught ') else text


def _is_of_dead_worker(error: BaseException) -> bool:
    """Whether torch says that a data worker is gone."""
    return isinstance(error, RuntimeError) and str(error).startswith('DataLoader worker (pid')


def show_user_errors() -> None:
    """From now on an uncaught UserError ends the program with one line instead of a traceback, and exit status 1.

    So does the death of a data worker, which the system may end when memory runs out.
    """
    previous = sys.excepthook
    if getattr(previous, '__module__', None) == __name__:
        return

    def show(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
        if isinstance(error, UserError):
            sys.stderr.write(f'error: {_own_message(error)}\n')
        elif _is_of_dead_worker(error):
            sys.stderr.write(
                f'error: {str(error).strip()} If memory ran out, lower datasets: train: num_worker_per_gpu.'
                ' --auto_resume goes on from the newest checkpoint\n'
            )
        else:
            previous(kind, error, traceback)

    sys.excepthook = show
