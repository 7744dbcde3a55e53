"""Calibrate a DSN (stage 1): its samples get the noise level, noise correlation and JPEG compression of the camera.

The result takes the place of net_g_*.pth in generation, training on the fly and sampling.
"""

import argparse
from pathlib import Path

from usrdu_basicsr.cli.command_line import add_device, positive
from usrdu_basicsr.utils.errors import InputError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command."""
    parser.add_argument('--model_path', required=True, help='net_g_*.pth of stage 1')
    parser.add_argument('--hr', required=True, help='folder or LMDB of HR images')
    parser.add_argument('--lr', required=True, help='folder or LMDB of camera images (real LR images)')
    parser.add_argument('-o', '--output', required=True, help='calibrated checkpoint to write')
    parser.add_argument(
        '--images', type=positive, default=100, help='images of each folder to use, at most (default: %(default)s)'
    )
    add_device(parser)


def run(args: argparse.Namespace) -> int:
    """Run the command and return 0."""
    from usrdu_basicsr.compat.registration import register

    register()
    from usrdu_basicsr.inference.calibrate import calibrate, save_dsn
    from usrdu_basicsr.inference.load_network import load_dsn
    from usrdu_basicsr.utils.device import pick_device

    if Path(args.output).is_dir():
        raise InputError(f"output '{args.output}': got a folder, expected a file. Add a file name")
    dsn = load_dsn(args.model_path, pick_device(args.device))
    dsn, calibration = calibrate(dsn, args.hr, args.lr, args.images)
    save_dsn(dsn, args.output)
    for label, noise in (('camera', calibration.camera), ('before', calibration.before), ('after', calibration.after)):
        levels = ' '.join(f'{level:.2f}' for level in noise.variance.sqrt().tolist())
        across, down = noise.neighbours
        print(f'{label}: noise of {levels} gray levels (RGB), correlation of neighbours {across:.2f} {down:.2f}')
    return 0
