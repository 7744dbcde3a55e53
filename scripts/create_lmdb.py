"""Pack folders of images or generated sets into LMDBs in BasicSR's format."""

import argparse

from usrdu_basicsr.cli.command_line import add_packing, packing_of, run_script
from usrdu_basicsr.data_preparation.create_lmdb import create_lmdbs


def main() -> int:
    """Return the exit status 0."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        '-i', '--input', nargs='+', required=True, help='folders of images, or outputs of scripts/generate_lr.py'
    )
    parser.add_argument('-o', '--output', help='path of the LMDB, for one input (default: FOLDER.lmdb)')
    parser.add_argument('--pair', action='store_true', help='require equal file names in all inputs')
    add_packing(parser)
    args = parser.parse_args()
    if args.output is not None and len(args.input) > 1:
        parser.error(f'-o: got {len(args.input)} inputs, expected one. Omit -o or pass one input')

    for path in create_lmdbs(args.input, args.output, args.pair, packing_of(args)):
        print(path)
    return 0


if __name__ == '__main__':
    run_script(main)
