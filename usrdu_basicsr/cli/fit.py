"""Train super-resolution for a camera within a time, from a folder of HR images and a folder of its images.

Checks the images, prints a plan, measures the camera, trains, upscales held-back images and writes a report. The same
command resumes an interrupted run.
"""

import argparse
import os
from pathlib import Path

from usrdu_basicsr.fit.request import NETWORKS, PRESETS, Request, parse_time


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command."""
    parser.add_argument('--hr', type=Path, required=True, help='folder of HR images of any scenes')
    parser.add_argument('--lr', type=Path, required=True, help='folder of camera images of any scenes')
    parser.add_argument('-o', '--output', type=Path, help='folder of the run (default: runs/ and the name of --lr)')
    parser.add_argument('--scale', type=int, choices=(1, 2, 4), default=4, help='scale (default: %(default)s)')
    parser.add_argument('--time', default='30m', help='time of the whole run, such as 10m or 2h (default: %(default)s)')
    parser.add_argument('--val_hr', type=Path, help='folder of HR images for validation (default: held-back images)')
    parser.add_argument('--val_lr', type=Path, help='folder of camera images of the same scenes and names')
    parser.add_argument(
        '--preset',
        choices=PRESETS,
        default='auto',
        help='auto: measure the camera; published: train stage 1 as the paper does (default: %(default)s)',
    )
    parser.add_argument(
        '--network',
        default='compact',
        help=f'{", ".join(NETWORKS)}, or the file of a published model to start from (default: %(default)s)',
    )
    parser.add_argument(
        '--device', choices=('auto', 'cpu', 'cuda'), default='auto', help='auto: the GPU if available (default: auto)'
    )
    parser.add_argument('--verbose', action='store_true', help='print the output of each command')


def run(args: argparse.Namespace) -> int:
    """Run the command and return 0."""
    from usrdu_basicsr.compat.registration import register

    register()
    from usrdu_basicsr.fit.command import Progress
    from usrdu_basicsr.fit.fit import Fit

    request = Request(
        hr=args.hr,
        lr=args.lr,
        output=args.output or Path('runs', os.path.basename(os.path.abspath(args.lr))),  # a link keeps its name
        scale=args.scale,
        seconds=parse_time(args.time),
        val_hr=args.val_hr,
        val_lr=args.val_lr,
        preset=args.preset,
        network=args.network,
        device=None if args.device == 'auto' else args.device,
        verbose=args.verbose,
    )
    Fit(request, Progress()).run()
    return 0
