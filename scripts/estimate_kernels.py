"""Estimate the blur kernel of every photo of a folder with KernelGAN (track 2, before stage 1)."""

import argparse

from usrdu_basicsr import register
from usrdu_basicsr.cli.command_line import add_device, positive, run_script


def main() -> int:
    """Exit status: 1 if a photo failed, except under torchrun."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('-i', '--input', required=True, help='folder of real LR photos')
    parser.add_argument(
        '-o', '--output', required=True, help='folder to write: x2/, x4/, records/, kernels.jsonl, kernels.png'
    )
    parser.add_argument('--scale', type=int, choices=(2, 4), default=4, help='2: only x2/ (default: %(default)s)')
    parser.add_argument('--batch', type=positive, default=16, help='photos at once (default: %(default)s)')
    parser.add_argument(
        '--runs', type=positive, default=3, help='runs a photo, whose median counts (default: %(default)s)'
    )
    parser.add_argument('--iterations', type=positive, default=3000, help='of each run (default: %(default)s)')
    parser.add_argument('--seed', type=int, default=0, help='of all random numbers (default: %(default)s)')
    add_device(parser)
    args = parser.parse_args()
    if args.seed < 0:
        parser.error(f'--seed must not be negative, got {args.seed}')

    register()
    from usrdu_basicsr.cli.command_line import exit_status
    from usrdu_basicsr.kernelgan.estimate import EstimationSettings, KernelEstimation
    from usrdu_basicsr.utils.device import pick_device
    from usrdu_basicsr.utils.dist import torchrun_share

    share = torchrun_share()
    settings = EstimationSettings(args.runs, args.iterations, args.seed)
    estimation = KernelEstimation(args.input, args.output, settings, args.scale, share)
    report = estimation.run(pick_device(args.device), args.batch, show_progress=share[0] == 0)
    print(
        f'{len(report.written)} written, {len(report.skipped)} there already, {len(report.too_small)} too small,'
        f' {len(report.failed)} failed'
    )
    return exit_status(bool(report.failed), share)


if __name__ == '__main__':
    run_script(main)
