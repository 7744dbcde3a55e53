"""Write the networks of a published checkpoint (USR-DU, ESRGAN, Real-ESRGAN) as checkpoints of this package.

Not needed for training and inference, which take such files as they are.
"""

import argparse

from usrdu_basicsr import register
from usrdu_basicsr.cli.command_line import run_script


def main() -> int:
    """Exit status: 0."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('-i', '--input', required=True, help='checkpoint')
    parser.add_argument(
        '-o', '--output', required=True, help='folder to write NAME_srn.pth, NAME_dsn.pth, NAME_discriminator.pth into'
    )
    parser.add_argument('--overwrite', action='store_true', help='replace what is there')
    args = parser.parse_args()

    register()
    from usrdu_basicsr.export.convert_checkpoint import convert_checkpoint

    for path, what in convert_checkpoint(args.input, args.output, args.overwrite).items():
        print(f'{path}: {what}')
    return 0


if __name__ == '__main__':
    run_script(main)
