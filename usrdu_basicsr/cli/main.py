"""USR-DU: real-world super-resolution from unpaired images, with BasicSR."""
# PYTHON_ARGCOMPLETE_OK: with this comment, argcomplete's global completion includes the installed command `usrdu`

import argparse
import os
import re
import sys
from collections.abc import Sequence
from types import ModuleType

from usrdu_basicsr.cli import (
    audit,
    calibrate,
    camera,
    check,
    convert,
    doctor,
    export,
    fit,
    generate,
    kernels,
    lmdb,
    recipes,
    report,
    subimages,
    test,
    train,
    upscale,
)
from usrdu_basicsr.cli.command_line import UsageError, run_script
from usrdu_basicsr.version import __version__

# Module and help of each command. A module has the functions `add_arguments` and `run`, and its docstring describes the
# command. It imports only the standard library until `run`, which keeps help and shell completion fast.
COMMANDS: dict[str, tuple[ModuleType, str]] = {
    'train': (train, 'train a stage with an options file'),
    'test': (test, 'compute the metrics of a trained network on test datasets'),
    'generate': (generate, 'generate the LR distribution of HR images (stage 1)'),
    'upscale': (upscale, 'upscale images (stage 2)'),
    'camera': (camera, 'measure the blur, noise and JPEG settings of a camera'),
    'calibrate': (calibrate, 'give the samples of a DSN the noise of its camera'),
    'audit': (audit, 'compare a generated set with the images of the camera'),
    'kernels': (kernels, 'estimate blur kernels with KernelGAN'),
    'fit': (fit, 'train for a camera: two folders in, a network and a report out'),
    'report': (report, 'write the report of a run of fit again'),
    'check': (check, 'check datasets'),
    'lmdb': (lmdb, 'pack images into LMDBs'),
    'subimages': (subimages, 'crop large images into sub-images'),
    'convert': (convert, 'convert a published checkpoint'),
    'export': (export, 'export a network to safetensors, ONNX and torch.export'),
    'recipes': (recipes, 'list, show and copy options files'),
    'doctor': (doctor, 'report the environment and what is missing in it'),
}
LAUNCHERS = (train, test)  # handle signals, logging and errors themselves


def main() -> None:
    """Run the command `usrdu` and exit with its status."""
    parser = argparse.ArgumentParser(prog='usrdu', description=__doc__)
    parser.add_argument('--version', action='version', version=f'%(prog)s {__version__}')
    commands = parser.add_subparsers(title='commands', dest='command', metavar='COMMAND', required=True)
    for name, (module, help_text) in COMMANDS.items():
        module.add_arguments(commands.add_parser(name, help=help_text, description=module.__doc__))
    if '_ARGCOMPLETE' in os.environ:  # set by the shell's completion
        import argcomplete

        argcomplete.autocomplete(parser)
    args, unknown = parser.parse_known_args()
    _run(COMMANDS[args.command][0], commands.choices[args.command], args, unknown)


def run_as_script(command: ModuleType) -> None:
    """Run one command as a script of its own and exit with its status."""
    parser = argparse.ArgumentParser(description=command.__doc__)
    command.add_arguments(parser)
    _run(command, parser, *parser.parse_known_args())


def _run(
    command: ModuleType, parser: argparse.ArgumentParser, args: argparse.Namespace, unknown: Sequence[str]
) -> None:
    if unknown:
        from difflib import get_close_matches

        similar = get_close_matches(unknown[0].split('=')[0], re.findall(r'--?\w+', parser.format_usage()), 1)
        hint = f'. Did you mean {similar[0]}?' if similar else ''
        parser.error(f'unrecognized arguments: {" ".join(unknown)}{hint}')
    if command in LAUNCHERS:
        sys.exit(command.run(args))

    def run() -> int:
        try:
            return command.run(args)
        except UsageError as error:
            parser.error(str(error))

    run_script(run)
