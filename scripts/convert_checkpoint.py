"""Convert a published checkpoint (USR-DU, ESRGAN, Real-ESRGAN) to checkpoints of this package, one per network.

Training and inference also read published checkpoints directly.
"""

import argparse

from usrdu_basicsr import register
from usrdu_basicsr.cli.command_line import run_script


def main() -> int:
    """Return the exit status 0."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('-i', '--input', required=True, help='published checkpoint')
    parser.add_argument(
        '-o', '--output', required=True, help='output folder of NAME_srn.pth, NAME_dsn.pth and NAME_discriminator.pth'
    )
    parser.add_argument('--overwrite', action='store_true', help='overwrite existing files')
    args = parser.parse_args()

    register()
    from usrdu_basicsr.export.convert_checkpoint import convert_checkpoint

    for path, description in convert_checkpoint(args.input, args.output, args.overwrite).items():
        print(f'{path}: {description}')
    return 0


if __name__ == '__main__':
    run_script(main)
