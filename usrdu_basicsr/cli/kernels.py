"""Estimate the blur kernel of every image of a folder with KernelGAN (track 2, before stage 1)."""

import argparse

from usrdu_basicsr.cli.command_line import add_device, exit_status, non_negative, positive


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command."""
    parser.add_argument('-i', '--input', required=True, help='folder of real LR images')
    parser.add_argument(
        '-o', '--output', required=True, help='output folder of x2/, x4/, records/, kernels.jsonl and kernels.png'
    )
    parser.add_argument(
        '--scale',
        type=int,
        choices=(2, 4),
        default=4,
        help='scale of the kernels; 4 writes x2/ and x4/, 2 only x2/ (default: %(default)s)',
    )
    parser.add_argument('--batch', type=positive, help='images trained at once (default: 16, on a GPU 128)')
    parser.add_argument(
        '--runs', type=positive, default=3, help='runs per image; the kernel is their median (default: %(default)s)'
    )
    parser.add_argument('--iterations', type=positive, default=3000, help='iterations per run (default: %(default)s)')
    parser.add_argument('--seed', type=non_negative, default=0, help='random seed, >= 0 (default: %(default)s)')
    add_device(parser)


def run(args: argparse.Namespace) -> int:
    """Run the command and return its `exit_status`."""
    from usrdu_basicsr.compat.registration import register

    register()
    from usrdu_basicsr.kernelgan.estimate import EstimationSettings, estimate_kernels
    from usrdu_basicsr.utils.device import pick_device
    from usrdu_basicsr.utils.dist import torchrun_rank

    share = torchrun_rank()
    settings = EstimationSettings(args.runs, args.iterations, args.seed)
    device = pick_device(args.device)
    batch = args.batch or (128 if device.type == 'cuda' else 16)
    report = estimate_kernels(args.input, args.output, settings, device, batch, args.scale, share)
    print(report.summary())
    return exit_status(bool(report.failed), share)
