"""Changes to BasicSR's launchers: output folder, validation of options, error messages."""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

from usrdu_basicsr.options.preflight import check_run
from usrdu_basicsr.options.reading import check_options_file, is_usrdu_model
from usrdu_basicsr.utils.errors import UserError


def parse_options(original: Callable[..., Any], root_path: str, is_train: bool) -> tuple[dict[str, Any], Any]:
    """BasicSR's `parse_options` with this package's output folder and validation.

    Raises:
        UserError: If the options file cannot be read, or a run of one of this package's models would fail.
    """
    show_user_errors()
    check_options_file(sys.argv[1:])
    opt, args = original(working_root(root_path), is_train)
    if is_usrdu_model(opt):
        check_run(opt)
    return opt, args


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
    """Print an uncaught UserError as one line instead of a traceback; the exit status is 1."""
    previous = sys.excepthook
    if getattr(previous, '__module__', None) == __name__:
        return

    def show(error_type: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
        if isinstance(error, UserError):
            message = str(error)
            if message.startswith('Caught '):  # PyTorch adds the traceback of a data worker
                message = message.strip().splitlines()[-1].partition('Error: ')[2]
            sys.stderr.write(f'error: {message}\n')
        else:
            previous(error_type, error, traceback)

    sys.excepthook = show
