"""Test with BasicSR and the networks of this package.

Writes results/ to the current folder.
"""

import argparse
import os

from usrdu_basicsr.cli.launcher import add_launcher_arguments, set_launcher_arguments


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command."""
    add_launcher_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Run the test and return the exit status 0."""
    from usrdu_basicsr.compat.registration import register

    register()
    from basicsr.test import test_pipeline  # after `register`, without which BasicSR may not be importable

    set_launcher_arguments(args.command)
    test_pipeline(os.getcwd())
    return 0
