"""What every script does alike: log to the terminal, tell the user's mistakes in one line."""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
from collections.abc import Callable
from types import FrameType

from usrdu_basicsr.data_preparation.pack_settings import PackingSettings
from usrdu_basicsr.utils.errors import UserError


def add_device(parser: argparse.ArgumentParser) -> None:
    """Add `--device`, for `pick_device`."""
    parser.add_argument('--device', help='cpu, cuda, cuda:1, ... (default: the GPU if there is one)')


def add_workers(parser: argparse.ArgumentParser) -> None:
    """Add `--workers`."""
    cores = os.cpu_count() or 1
    parser.add_argument('--workers', type=positive, default=cores, help='at once (default: one a core, %(default)s)')


def add_packing(parser: argparse.ArgumentParser) -> None:
    """Add `--workers`, `--compression` and `--overwrite`."""
    add_workers(parser)
    parser.add_argument(
        '--compression',
        type=int,
        choices=range(10),
        default=1,
        help='of PNGs: 0, large and fastest to read, to 9, small (default: %(default)s)',
    )
    parser.add_argument('--overwrite', action='store_true', help='replace what is there')


def packing_of(args: argparse.Namespace) -> PackingSettings:
    """What was given for the options of `add_packing`."""
    return PackingSettings(args.workers, args.compression, args.overwrite)


def positive(text: str) -> int:
    """For `add_argument(type=positive)`: a whole number from 1 on."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f'expected at least 1, got {number}')
    return number


def exit_status(failed: bool, share: tuple[int, int]) -> int:
    """That of a script: 1 if files of its share failed, but 0 among several, which torchrun would stop for it."""
    return 1 if failed and share[1] == 1 else 0


def _end(number: int, frame: FrameType | None) -> None:
    """End by way of `finally`, so that temporary files go too."""
    sys.exit(128 + number)  # as a shell reports a signal


def run_script(main: Callable[[], int]) -> None:
    """Run a script's `main` and exit with the status it returns; a `UserError` becomes one line and status 1."""
    logging.basicConfig(level=logging.INFO, format='%(levelname)s: %(message)s')
    signal.signal(signal.SIGTERM, _end)
    try:
        sys.exit(main())
    except UserError as error:
        sys.exit(f'error: {error}')
    except KeyboardInterrupt:
        sys.stderr.write('interrupted\n')
        sys.exit(130)  # as a shell reports SIGINT
