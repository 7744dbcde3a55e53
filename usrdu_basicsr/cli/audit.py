"""Compare a generated set with the images of the camera: noise, its correlation, blur and colours, without pairs."""

import argparse

from usrdu_basicsr.cli.command_line import positive


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command."""
    parser.add_argument('--lr', required=True, help='folder or LMDB of camera images (real LR images)')
    parser.add_argument(
        '--generated', required=True, help='generated set, or a folder or LMDB of LR images of any other origin'
    )
    parser.add_argument('--hr', help='folder or LMDB of the HR images of the set (default: colours are not compared)')
    parser.add_argument(
        '--images', type=positive, default=200, help='images of each folder to compare, at most (default: %(default)s)'
    )


def run(args: argparse.Namespace) -> int:
    """Run the command and return 0."""
    from usrdu_basicsr.compat.registration import register

    register()
    from usrdu_basicsr.inference.audit import audit

    fidelity = audit(args.lr, args.generated, args.hr, args.images)
    for name, value in fidelity.numbers().items():
        print(f'{name}: {value:.3f}')
    for finding in list(fidelity.findings()) or ['Generated images match those of the camera.']:
        print(finding)
    return 0
