"""Generate the LR distribution of a folder of HR images with a trained DSN (stage 1)."""

import argparse

from usrdu_basicsr.cli.command_line import add_device, exit_status, positive


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command."""
    parser.add_argument('-i', '--input', required=True, help='folder of HR images')
    parser.add_argument('-o', '--output', required=True, help='output folder for lr/, log_scale/ and generation.json')
    parser.add_argument('--model_path', required=True, help='net_g_*.pth of stage 1')
    parser.add_argument('--tile', type=positive, default=512, help='side of a tile in HR pixels (default: %(default)s)')
    add_device(parser)
    parser.add_argument(
        '--precision', default='fp32', help='fp32, tf32, bf16 or fp16, if the device supports it (default: %(default)s)'
    )


def run(args: argparse.Namespace) -> int:
    """Run the command and return its `exit_status`."""
    from usrdu_basicsr.compat.registration import register

    register()
    from usrdu_basicsr.inference.generate_lr import generate_set
    from usrdu_basicsr.utils.device import pick_device
    from usrdu_basicsr.utils.dist import torchrun_rank

    device, share = pick_device(args.device), torchrun_rank()
    report = generate_set(args.input, args.output, args.model_path, device, args.tile, args.precision, share)
    print(report.summary())
    return exit_status(bool(report.failed), share)
