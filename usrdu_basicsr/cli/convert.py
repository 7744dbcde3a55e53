"""Convert a published checkpoint (USR-DU, ESRGAN, Real-ESRGAN) to checkpoints of this package, one per network.

Training and inference also read published checkpoints directly.
"""

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command."""
    parser.add_argument('-i', '--input', required=True, help='published checkpoint')
    parser.add_argument(
        '-o', '--output', required=True, help='output folder of NAME_srn.pth, NAME_dsn.pth and NAME_discriminator.pth'
    )
    parser.add_argument('--overwrite', action='store_true', help='overwrite existing files')


def run(args: argparse.Namespace) -> int:
    """Run the command and return the exit status 0."""
    from usrdu_basicsr.compat.registration import register

    register()
    from usrdu_basicsr.export.convert_checkpoint import convert_checkpoint

    for path, description in convert_checkpoint(args.input, args.output, args.overwrite).items():
        print(f'{path}: {description}')
    return 0
