"""Pack folders of images or generated sets into LMDBs in BasicSR's format."""

import argparse

from usrdu_basicsr.cli.command_line import UsageError, add_packing, packing_of


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command."""
    parser.add_argument(
        '-i', '--input', nargs='+', required=True, help='folders of images, or outputs of `usrdu generate`'
    )
    parser.add_argument('-o', '--output', help='path of the LMDB, for one input (default: FOLDER.lmdb)')
    parser.add_argument('--pair', action='store_true', help='require equal file names in all inputs')
    add_packing(parser)


def run(args: argparse.Namespace) -> int:
    """Run the command and return the exit status 0."""
    if args.output is not None and len(args.input) > 1:
        raise UsageError(f'-o: got {len(args.input)} inputs, expected one. Omit -o or pass one input')

    from usrdu_basicsr.data_preparation.create_lmdb import create_lmdbs

    for path in create_lmdbs(args.input, args.output, args.pair, packing_of(args)):
        print(path)
    return 0
