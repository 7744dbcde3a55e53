"""Arguments, usage errors and exit statuses that the commands and scripts share."""

import argparse
import logging
import os
import signal
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

from usrdu_basicsr.utils.errors import UserError

if TYPE_CHECKING:  # importing the module imports OpenCV
    from usrdu_basicsr.data_preparation.packing import PackingSettings


class UsageError(Exception):
    """Invalid combination of arguments. The parser of the command reports it with status 2."""


def add_device(parser: argparse.ArgumentParser) -> None:
    """Add `--device`, the argument of `pick_device`."""
    parser.add_argument('--device', help='cpu, cuda, cuda:1, ... (default: the GPU if available)')


def add_workers(parser: argparse.ArgumentParser) -> None:
    """Add `--workers`."""
    cores = os.cpu_count() or 1
    parser.add_argument(
        '--workers', type=positive, default=cores, help='number of workers (default: number of CPU cores, %(default)s)'
    )


def add_packing(parser: argparse.ArgumentParser) -> None:
    """Add `--workers`, `--compression` and `--overwrite`."""
    add_workers(parser)
    parser.add_argument(
        '--compression',
        type=int,
        choices=range(10),
        default=1,
        help='PNG compression level: 0 (largest, fastest to read) to 9 (smallest) (default: %(default)s)',
    )
    parser.add_argument('--overwrite', action='store_true', help='overwrite existing output')


def packing_of(args: argparse.Namespace) -> 'PackingSettings':
    """Settings from the arguments of `add_packing`."""
    from usrdu_basicsr.data_preparation.packing import PackingSettings

    return PackingSettings(args.workers, args.compression, args.overwrite)


def positive(text: str) -> int:
    """Parse a positive integer, for `add_argument(type=positive)`."""
    return _at_least(1, text)


def non_negative(text: str) -> int:
    """Parse an integer >= 0, for `add_argument(type=non_negative)`."""
    return _at_least(0, text)


def _at_least(minimum: int, text: str) -> int:
    number = int(text)
    if number < minimum:
        raise argparse.ArgumentTypeError(f'got {number}, expected an integer >= {minimum}')
    return number


def exit_status(failed: bool, share: tuple[int, int]) -> int:
    """Exit status of a command that processes one share of the files.

    It is 1 if files failed and there is one share. With several shares it is 0, because torchrun would stop the others.
    """
    return 1 if failed and share[1] == 1 else 0


def run_script(main: Callable[[], int]) -> None:
    """Run a function and exit with the status that it returns. A `UserError` becomes one line and status 1."""
    logging.basicConfig(level=logging.INFO, format='%(levelname)s: %(message)s')
    # SystemExit lets `finally` blocks remove temporary files. The status is that of a shell after a signal.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    try:
        status = main()
        sys.stdout.flush()  # a closed pipe is an error here instead of at the interpreter's exit
        sys.exit(status)
    except BrokenPipeError:  # the reader of the output, such as `head`, has ended
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what the interpreter still flushes
        sys.exit(141)  # exit status of a shell after SIGPIPE
    except UserError as error:
        sys.exit(f'error: {error}')
    except KeyboardInterrupt:
        sys.stderr.write('interrupted\n')
        sys.exit(130)  # exit status of a shell after SIGINT
