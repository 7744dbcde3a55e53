"""Changes to BasicSR's launchers: output folder, validation of options, error messages."""

import argparse
import errno
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path
from types import SimpleNamespace, TracebackType
from typing import Any

from usrdu_basicsr.compat.preflight import check_run
from usrdu_basicsr.compat.run_lock import lock_run
from usrdu_basicsr.options.checking import check_options, is_for_this_package, raise_problems
from usrdu_basicsr.options.reading import OptionsFile, read_options_file
from usrdu_basicsr.options.schema.datasets import TRAIN, VAL
from usrdu_basicsr.options.schema.rules import value_at
from usrdu_basicsr.utils.errors import InputError, UserError, first_line
from usrdu_basicsr.utils.memory import is_out_of_memory

WRITE_ERRORS = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT)
SECTIONS = {None, *TRAIN, *VAL}  # values of `type` of the sections whose options have defaults


def parse_options(original: Callable[..., Any], root_path: str, is_train: bool) -> tuple[dict[str, Any], Any]:
    """BasicSR's `parse_options` with this package's output folder and validation.

    Options files of other models are read by BasicSR.

    Raises:
        UserError: If the options file cannot be read, or a run of one of this package's models would fail.
    """
    show_user_errors()
    root_path = working_root(root_path)
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument('-opt')
    parser.add_argument('--force_yml', nargs='+', default=[])
    parser.add_argument('--auto_resume', action='store_true')
    args, others = parser.parse_known_args(sys.argv[1:])
    if args.opt is None or not is_for_this_package(args.opt, args.force_yml):
        return original(root_path, is_train)  # reports a missing -opt

    file = read_options_file(args.opt, args.force_yml)
    resumes = args.auto_resume or bool(value_at(file.options, ('path', 'resume_state')))
    raise_problems(file, check_options(file, is_train, check_paths=True, resumes=resumes))
    arguments = ['-opt', args.opt, *(['--auto_resume'] if args.auto_resume else []), *others]
    with _prepared_options(original, file, arguments):
        opt, basicsr_args = original(root_path, is_train)
    if is_train and Path(args.opt).resolve().is_relative_to(Path(opt['path']['experiments_root']).resolve()):
        raise InputError(f"-opt: '{args.opt}' is in the folder that the run writes. Copy it to another folder")
    raise_problems(file, check_run(opt, file))
    lock_run(opt)
    return opt, basicsr_args


@contextmanager
def _prepared_options(original: Callable[..., Any], file: OptionsFile, arguments: list[str]) -> Iterator[None]:
    """Let BasicSR's `parse_options` use options that have been read and changed by `--force_yml` already.

    BasicSR's YAML loader builds Python objects, and its `--force_yml` executes the values.
    """
    variables, argv = original.__globals__, sys.argv
    ordered_yaml = variables['ordered_yaml']
    loaded = SimpleNamespace(get_single_data=lambda: _without_nulls(file.options), dispose=lambda: None)
    variables['ordered_yaml'] = lambda: (lambda stream: loaded, None)
    sys.argv = [argv[0], *arguments]
    try:
        yield
    finally:
        variables['ordered_yaml'], sys.argv = ordered_yaml, argv


def _without_nulls(options: Mapping[str, Any]) -> dict[str, Any]:
    """Copy options without `~`, which stands for the default and which BasicSR would use as a value.

    The parameters of networks, losses and other components keep it.
    """
    return {
        key: _without_nulls(value) if isinstance(value, dict) and value.get('type') in SECTIONS else deepcopy(value)
        for key, value in options.items()
        if value is not None
    }


def working_root(root_path: str) -> str:
    """Return the current folder if `root_path` is the folder of BasicSR itself, otherwise `root_path`.

    BasicSR's launchers pass the parent folder of their package, which is site-packages for an installed BasicSR.
    Launchers of other projects pass a folder of their own.
    """
    import basicsr

    root = Path(root_path).resolve()
    program = getattr(sys.modules['__main__'], '__file__', None)
    launchers = [root / 'basicsr' / 'train.py', root / 'basicsr' / 'test.py']
    if root == Path(basicsr.__file__).resolve().parents[1] or (program and Path(program).resolve() in launchers):
        return os.getcwd()
    return root_path


def show_user_errors() -> None:
    """Print an uncaught UserError or a lack of memory, disk space or permissions as one line; the exit status is 1."""
    previous = sys.excepthook
    if getattr(previous, '__module__', None) == __name__:
        return

    def show(error_type: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
        if isinstance(error, UserError):
            message = str(error)
            if message.startswith('Caught '):  # PyTorch adds the traceback of a data worker
                message = message.strip().splitlines()[-1].partition('Error: ')[2]
            sys.stderr.write(f'error: {message}\n')
        elif isinstance(error, OSError) and error.errno in WRITE_ERRORS:  # of BasicSR, which creates the folders
            what = 'a file' if error.filename is None else f"'{error.filename}'"
            remedy = 'Check the permissions and the free disk space'
            sys.stderr.write(f'error: cannot access {what} ({error.strerror}). {remedy}\n')
        elif is_out_of_memory(error):
            remedy = 'In a training, lower batch_size_per_gpu or gt_size, or set accum_iter or precision: bf16'
            sys.stderr.write(f'error: out of memory ({first_line(error)}). {remedy}\n')
        else:
            previous(error_type, error, traceback)

    sys.excepthook = show
