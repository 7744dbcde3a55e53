"""What every script does alike: log to the terminal, tell the user's mistakes in one line."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Callable

from usrdu_basicsr.errors import UserError


def add_device(parser: argparse.ArgumentParser) -> None:
    """Add `--device`, for `pick_device`."""
    parser.add_argument('--device', help='cpu, cuda, cuda:1, ... (default: the GPU if there is one)')


def positive(text: str) -> int:
    """For `add_argument(type=positive)`: a whole number from 1 on."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f'expected at least 1, got {number}')
    return number


def run_script(main: Callable[[], int]) -> None:
    """Run a script's `main` and exit with the status it returns; a `UserError` becomes one line and status 1."""
    logging.basicConfig(level=logging.INFO, format='%(levelname)s: %(message)s')
    try:
        sys.exit(main())
    except UserError as error:
        sys.exit(f'error: {error}')
    except KeyboardInterrupt:
        sys.stderr.write('interrupted\n')
        sys.exit(130)  # as a shell reports SIGINT
