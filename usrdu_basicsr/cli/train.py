"""Train with BasicSR and the networks of this package.

Writes experiments/ and tb_logger/ to the current folder. A training stopped by a signal is resumed with --auto_resume.
"""

import argparse
import os

from usrdu_basicsr.cli.launcher import add_launcher_arguments, set_launcher_arguments


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command."""
    add_launcher_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Run the training and return the exit status 0."""
    from usrdu_basicsr.compat.registration import register

    register()
    from basicsr.train import train_pipeline  # after `register`, without which BasicSR may not be importable

    set_launcher_arguments(args.command)
    train_pipeline(os.getcwd())
    return 0
