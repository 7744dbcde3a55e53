"""Upscale images with a trained SR network (stage 2).

The network is built from the checkpoint. Bit depth, gray, transparency and colour profile of an image are kept. EXIF
orientation is applied. Existing results of the same image, checkpoint, scale and ensemble are skipped.
"""

import argparse

from usrdu_basicsr.cli.command_line import UsageError, add_device, exit_status, positive


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command."""
    parser.add_argument(
        '-i',
        '--input',
        required=True,
        nargs='+',
        help="images, folders with their subfolders, or patterns such as 'scans/*.png'",
    )
    parser.add_argument('-o', '--output', required=True, help='output folder')
    parser.add_argument(
        '--model_path',
        required=True,
        help="net_g_*.pth of stage 2, a published SR file, or any RRDBNet or SRVGGNetCompact such as Real-ESRGAN's",
    )
    parser.add_argument(
        '-opt', help='options file whose network_g describes an architecture other than RRDBNet and SRVGGNetCompact'
    )
    parser.add_argument(
        '--outscale', type=float, help='scale of the results, also fractional (default: that of the network)'
    )
    parser.add_argument(
        '--tile',
        type=int,
        help='largest side of a tile in input pixels; 0 for whole images (default: determined by the free memory).'
        ' The size is halved if memory runs out',
    )
    parser.add_argument(
        '--overlap',
        type=int,
        default=32,
        help='overlap of tiles in input pixels, at most a quarter of a tile (default: %(default)s)',
    )
    parser.add_argument(
        '--precision', default='fp32', help='fp32, tf32, bf16 or fp16, if the device supports it (default: %(default)s)'
    )
    parser.add_argument(
        '--self_ensemble', action='store_true', help='average over eight flips and rotations; takes eight times as long'
    )
    parser.add_argument(
        '--strength',
        type=float,
        default=1,
        help='from 0 for bicubic upscaling, or the network of --base, to 1 for the network (default: %(default)s)',
    )
    parser.add_argument('--base', help='checkpoint that the training started from, whose weights --strength 0 takes')
    parser.add_argument('--suffix', default='', help='suffix of the result names, before the extension (default: none)')
    parser.add_argument(
        '--ext',
        default='png',
        help='format of the results: png, jpg, webp, or auto for that of the input (default: %(default)s)',
    )
    parser.add_argument(
        '--overwrite',
        action='store_true',
        help='overwrite existing results, for example after a change of tiles or precision',
    )
    parser.add_argument(
        '--workers', type=positive, default=2, help='number of reading and of writing threads (default: %(default)s)'
    )
    add_device(parser)


def run(args: argparse.Namespace) -> int:
    """Run the command and return its `exit_status`."""
    if args.base is not None and args.strength == 1:
        raise UsageError('--base needs --strength, for example --strength 0.5')
    from usrdu_basicsr.compat.registration import register

    register()
    from usrdu_basicsr.inference.load_network import load_generator
    from usrdu_basicsr.inference.strength import interpolate_weights
    from usrdu_basicsr.inference.upscale_files import Naming, upscale_files
    from usrdu_basicsr.inference.upscaler import Upscaler
    from usrdu_basicsr.options.reading import read_network_options
    from usrdu_basicsr.utils.device import pick_device
    from usrdu_basicsr.utils.dist import torchrun_rank
    from usrdu_basicsr.utils.files import file_sha256
    from usrdu_basicsr.utils.precision import Precision

    naming = Naming(args.suffix, args.ext)
    described = read_network_options(args.opt)['network_g'] if args.opt else None
    device, share = pick_device(args.device), torchrun_rank()
    network = load_generator(args.model_path, device, described)
    strength = args.strength
    if args.base is not None:
        interpolate_weights(network, load_generator(args.base, device, described), strength)
        strength = 1
    precision = Precision(args.precision, device)
    upscaler = Upscaler(network, precision, args.tile, args.overlap, args.self_ensemble, args.outscale, strength)
    settings = {
        'checkpoint_sha256': file_sha256(args.model_path),
        'outscale': upscaler.outscale,
        'self_ensemble': args.self_ensemble,
    }
    if args.strength < 1:
        settings |= {'strength': args.strength, 'base_sha256': args.base and file_sha256(args.base)}
    report = upscale_files(upscaler, args.input, args.output, naming, settings, args.overwrite, args.workers, share)
    print(report.summary())
    return exit_status(bool(report.failed), share)
