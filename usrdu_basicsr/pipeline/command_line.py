"""What every script does alike: log to the terminal, tell the user's mistakes in one line."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable

from usrdu_basicsr.errors import UserError


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
