"""Arguments and calls of BasicSR's launchers, for `usrdu train` and `usrdu test`."""

import argparse
import os
import sys
from importlib import import_module


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of BasicSR's `parse_options`, for help, completion and early errors."""
    parser.add_argument('-opt', required=True, help='options file')
    parser.add_argument(
        '--launcher',
        choices=('none', 'pytorch', 'slurm'),
        default='none',
        help='launcher of a distributed run: pytorch for torchrun, or slurm (default: %(default)s)',
    )
    parser.add_argument('--auto_resume', action='store_true', help='resume from the newest complete checkpoint')
    parser.add_argument(
        '--debug', action='store_true', help='prefix the name with debug_; log every iteration and validate often'
    )
    parser.add_argument('--local_rank', type=int, default=0, help='accepted for compatibility, no effect')
    parser.add_argument(
        '--force_yml',
        nargs='+',
        metavar='KEY:KEY=VALUE',
        help='override values of the options file, for example train:total_iter=1000',
    )


def run(args: argparse.Namespace) -> int:
    """Run BasicSR's launcher of the command, `train` or `test`, and return the exit status 0."""
    from usrdu_basicsr.compat.registration import register

    register()
    launcher = import_module(f'basicsr.{args.command}')  # after `register`, without which it may not be importable
    sys.argv = [f'usrdu {args.command}', *sys.argv[2:]]  # BasicSR's `parse_options` parses it
    getattr(launcher, f'{args.command}_pipeline')(os.getcwd())
    return 0
