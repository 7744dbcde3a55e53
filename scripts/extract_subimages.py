"""Cut photos into tiles: HR photos with their generated LR images and log-scales, or photos of one folder alone."""

import argparse
from pathlib import Path

from usrdu_basicsr.cli.command_line import add_packing, packing_of, positive, run_script
from usrdu_basicsr.data_preparation.extract_subimages import extract_generated_subimages, extract_subimages
from usrdu_basicsr.storage.open_source import LMDB_SUFFIX, lmdb_beside


def main() -> int:
    """Exit status: 0, all tiles are there."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('-i', '--input', required=True, help='folder of photos')
    parser.add_argument('--generated', help='what scripts/generate_lr.py made of them, to be cut alike')
    parser.add_argument(
        '-o', '--output', required=True, help='folder of the tiles; with --generated of hr, lr, log_scale'
    )
    parser.add_argument('--crop', type=positive, default=480, help='side of a tile in pixels (default: %(default)s)')
    parser.add_argument('--step', type=positive, default=240, help='between tiles in pixels (default: %(default)s)')
    parser.add_argument('--lmdb', action='store_true', help='write LMDBs')
    add_packing(parser)
    args = parser.parse_args()
    output, settings = Path(args.output), packing_of(args)

    if args.generated is not None:
        if output.suffix == LMDB_SUFFIX:
            parser.error('-o is a folder of three LMDBs here: leave .lmdb out and pass --lmdb')
        count = extract_generated_subimages(
            args.input, args.generated, output, args.crop, args.step, args.lmdb, settings
        )
    else:
        if args.lmdb and output.suffix != LMDB_SUFFIX:
            output = lmdb_beside(output)
        count = extract_subimages(args.input, output, args.crop, args.step, settings)
    print(f'{count} tiles in {output}')
    return 0


if __name__ == '__main__':
    run_script(main)
