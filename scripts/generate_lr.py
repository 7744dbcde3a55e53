"""Generate the LR distribution of a folder of HR photos with a trained DSN (stage 1)."""

import argparse

from usrdu_basicsr import register
from usrdu_basicsr.cli.command_line import add_device, run_script


def main() -> int:
    """Exit status: 1 if a photo failed, but 0 under torchrun, which would stop the other processes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('-i', '--input', required=True, help='folder of HR photos')
    parser.add_argument('-o', '--output', required=True, help='folder to write: lr/, log_scale/, generation.json')
    parser.add_argument('--model_path', required=True, help="stage 1's net_g_*.pth")
    parser.add_argument('--tile', type=int, help='side of a tile in HR pixels (default: 256 on a CPU, 512 on a GPU)')
    add_device(parser)
    parser.add_argument(
        '--precision', default='fp32', help='fp32, or tf32, bf16, fp16 where the device has it (default: %(default)s)'
    )
    args = parser.parse_args()
    if args.tile is not None and args.tile < 1:
        parser.error(f'--tile must be at least 1, got {args.tile}')

    register()
    from usrdu_basicsr.cli.command_line import exit_status
    from usrdu_basicsr.inference.generate_lr import generate_set
    from usrdu_basicsr.utils.device import pick_device
    from usrdu_basicsr.utils.dist import torchrun_share

    device, share = pick_device(args.device), torchrun_share()
    report = generate_set(args.input, args.output, args.model_path, device, args.tile, args.precision, share)
    print(f'{len(report.written)} written, {len(report.skipped)} there already, {len(report.failed)} failed')
    return exit_status(bool(report.failed), share)


if __name__ == '__main__':
    run_script(main)
