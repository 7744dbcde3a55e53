"""What BasicSR's launchers do differently with this package: where they write, how they fail."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

from usrdu_basicsr.options.preflight import check_run
from usrdu_basicsr.options.reading import check_options_file, is_ours
from usrdu_basicsr.utils.errors import UserError


def parse_options(original: Callable[..., Any], root_path: str, is_train: bool) -> tuple[dict[str, Any], Any]:
    """BasicSR's `parse_options`, called with the folder to write into, and with the user's mistakes found here.

    Raises:
        UserError: The options file cannot be read, or a run of one of our models cannot work.
    """
    show_user_errors()
    check_options_file(sys.argv[1:])
    opt, args = original(working_root(root_path), is_train)
    if is_ours(opt):
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
