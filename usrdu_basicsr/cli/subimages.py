"""Crop large images into sub-images: the images of one folder, or HR images with their generated LR images."""

import argparse
from pathlib import Path

from usrdu_basicsr.cli.command_line import UsageError, add_packing, packing_of, positive


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command."""
    parser.add_argument('-i', '--input', required=True, help='folder of images')
    parser.add_argument(
        '--generated', help='generated set of these images (output of `usrdu generate`), cropped with them'
    )
    parser.add_argument(
        '-o',
        '--output',
        required=True,
        help='output folder; with --generated it gets the subfolders hr, lr and log_scale',
    )
    parser.add_argument(
        '--crop', type=positive, default=480, help='side of a sub-image in pixels (default: %(default)s)'
    )
    parser.add_argument(
        '--step', type=positive, default=240, help='distance between sub-images in pixels (default: %(default)s)'
    )
    parser.add_argument('--lmdb', action='store_true', help='write LMDBs instead of folders')
    add_packing(parser)


def run(args: argparse.Namespace) -> int:
    """Run the command and return the exit status 0."""
    from usrdu_basicsr.data_preparation.extract_subimages import extract_subimages
    from usrdu_basicsr.storage.open_source import LMDB_SUFFIX, default_lmdb_path

    output, settings = Path(args.output), packing_of(args)

    if args.generated is not None and output.suffix == LMDB_SUFFIX:
        raise UsageError(f'-o: got {args.output!r}, expected a folder with --generated. Remove .lmdb and pass --lmdb')
    if args.generated is None and args.lmdb and output.suffix != LMDB_SUFFIX:
        output = default_lmdb_path(output)
    count = extract_subimages(args.input, output, args.crop, args.step, args.generated, args.lmdb, settings)
    print(f'{count} sub-images in {output}')
    return 0
