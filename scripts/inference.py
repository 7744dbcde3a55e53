"""Upscale images with a trained SR network (stage 2).

The network is built from the checkpoint alone. Depth, gray, transparency and colour profile of an image are kept; EXIF
orientation is applied. Results that are there and newer than the image and the checkpoint are skipped.
"""

import argparse
from pathlib import Path

from usrdu_basicsr import register
from usrdu_basicsr.cli.command_line import add_device, positive, run_script


def main() -> int:
    """Exit status: 1 if an image failed, but 0 under torchrun, which would stop the other processes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        '-i', '--input', required=True, nargs='+', help="images, folders with all below them, patterns as 'scans/*.png'"
    )
    parser.add_argument('-o', '--output', required=True, help='folder to write into')
    parser.add_argument(
        '--model_path',
        required=True,
        help="stage 2's net_g_*.pth, a published SR file, or any RRDBNet or SRVGGNetCompact such as Real-ESRGAN's",
    )
    parser.add_argument('-opt', help='options file whose network_g describes any other architecture')
    parser.add_argument('--outscale', type=float, help="of the results; any number (default: the network's own)")
    parser.add_argument(
        '--tile',
        type=int,
        help='largest side of the parts seen at once, in pixels of the input; 0 for whole images (default: as memory'
        ' allows). Halved when memory runs out',
    )
    parser.add_argument(
        '--overlap',
        type=int,
        default=32,
        help='pixels that tiles share, a quarter of a tile at most (default: %(default)s)',
    )
    parser.add_argument(
        '--precision', default='fp32', help='fp32, or tf32, bf16, fp16 where the device has it (default: %(default)s)'
    )
    parser.add_argument(
        '--self_ensemble', action='store_true', help='average over eight flips and turns: 8 times the time'
    )
    parser.add_argument('--suffix', default='', help='of the names of the results (default: none)')
    parser.add_argument('--ext', default='png', help="png, jpg, webp, or auto for the input's (default: %(default)s)")
    parser.add_argument('--overwrite', action='store_true', help='make anew what is there, with other settings, say')
    parser.add_argument(
        '--workers', type=positive, default=2, help='threads to read, and as many to write (default: %(default)s)'
    )
    add_device(parser)
    args = parser.parse_args()

    register()
    from usrdu_basicsr.cli.command_line import exit_status
    from usrdu_basicsr.inference.load_network import load_generator
    from usrdu_basicsr.inference.upscale_files import Naming, upscale_files
    from usrdu_basicsr.inference.upscaler import Upscaler
    from usrdu_basicsr.options.reading import read_network_options
    from usrdu_basicsr.utils.device import pick_device
    from usrdu_basicsr.utils.dist import torchrun_share
    from usrdu_basicsr.utils.precision import Precision

    naming = Naming(args.suffix, args.ext)
    described = read_network_options(args.opt)['network_g'] if args.opt else None
    device, share = pick_device(args.device), torchrun_share()
    network = load_generator(args.model_path, device, described)
    precision = Precision(args.precision, device)
    upscaler = Upscaler(network, precision, args.tile, args.overlap, args.self_ensemble, args.outscale)
    scale = args.outscale or upscaler.scale
    newer_than = Path(args.model_path).expanduser().stat().st_mtime
    report = upscale_files(
        upscaler, args.input, args.output, naming, newer_than, scale, args.overwrite, args.workers, share
    )
    print(f'{len(report.written)} written, {len(report.skipped)} there already, {len(report.failed)} failed')
    return exit_status(bool(report.failed), share)


if __name__ == '__main__':
    run_script(main)
