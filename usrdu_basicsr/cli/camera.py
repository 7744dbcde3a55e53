"""Measure a camera from its images and unrelated HR images in seconds: blur kernel, noise, tone, JPEG settings.

Writes camera.json and camera.html; with --hr also kernel.png, kernels/, a value of the option train: kernels of
stage 1, and net_g_camera.pth, a checkpoint that takes the place of stage 1 in generation and in stage 2.
"""

import argparse
from pathlib import Path

from usrdu_basicsr.cli.command_line import add_workers, positive

# By the beginning of a name; other numbers are in gray levels
UNITS = {
    'blur': 'HR pixels',
    'noise_correlation': '',
    'noise_gaussian': 'squared gray levels',
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command."""
    parser.add_argument('--lr', required=True, help='folder or LMDB of camera images (real LR images)')
    parser.add_argument(
        '--hr', help='folder or LMDB of HR images of any scenes (default: measure only noise and JPEG settings)'
    )
    parser.add_argument('-o', '--output', required=True, help='output folder')
    parser.add_argument('--scale', type=int, choices=(1, 2, 4), default=4, help='scale (default: %(default)s)')
    parser.add_argument(
        '--images', type=positive, default=200, help='images of each folder to measure, at most (default: %(default)s)'
    )
    add_workers(parser)


def run(args: argparse.Namespace) -> int:
    """Run the command and return 0."""
    from usrdu_basicsr.compat.registration import register

    register()
    from usrdu_basicsr.degradation.camera import measure_camera, write_camera
    from usrdu_basicsr.degradation.camera_page import camera_page
    from usrdu_basicsr.inference.calibrate import save_dsn
    from usrdu_basicsr.inference.measured_dsn import measured_dsn
    from usrdu_basicsr.utils.files import output_folder, write_text

    checkpoint = output_folder(args.output, *filter(None, (args.lr, args.hr))) / 'net_g_camera.pth'
    camera = measure_camera(args.lr, args.hr, args.scale, args.images, args.workers)
    dsn = None if args.hr is None else measured_dsn(camera, args.hr)[0]
    checkpoint.unlink(missing_ok=True)  # first, so that a kill leaves none of another measurement
    write_camera(args.output, camera)
    write_text(Path(args.output, 'camera.html'), camera_page(camera))
    if dsn is not None:
        save_dsn(dsn, checkpoint)
    for name, number in camera.numbers.items():
        unit = next((unit for prefix, unit in UNITS.items() if name.startswith(prefix)), 'gray levels')
        print(f'{name}: {number} {unit}'.rstrip())
    print('files: ' + ', '.join(f'{count} {settings}' for settings, count in camera.jpeg.items()))
    for warning in camera.warnings:
        print(f'warning: {warning}')
    return 0
