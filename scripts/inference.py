"""Upscale an image or a folder of images with a trained SR network (stage 2)."""

import argparse

from usrdu_basicsr import register
from usrdu_basicsr.errors import InputError
from usrdu_basicsr.pipeline.command_line import add_device, run_script


def main() -> int:
    """Exit status: 1 if an image failed, but 0 under torchrun, which would stop the other processes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('-i', '--input', required=True, help='image or folder')
    parser.add_argument('-o', '--output', required=True, help='folder to write PNG files into')
    parser.add_argument('--model_path', required=True, help="stage 2's net_g_*.pth, or any RRDBNet or SRVGGNetCompact")
    parser.add_argument('-opt', help='options file whose network_g describes any other architecture')
    add_device(parser)
    args = parser.parse_args()

    register()
    from usrdu_basicsr._launch import read_options_file
    from usrdu_basicsr.pipeline.load_network import load_generator, pick_device
    from usrdu_basicsr.pipeline.share import exit_status, torchrun_share
    from usrdu_basicsr.pipeline.upscale import upscale_files

    described = None
    if args.opt:
        described = read_options_file(args.opt).get('network_g')
        if not isinstance(described, dict):
            raise InputError(f"options file '{args.opt}' has no network_g")
    network = load_generator(args.model_path, pick_device(args.device), described)
    share = torchrun_share()
    failed = upscale_files(network, args.input, args.output, share)
    if failed:
        print(f'{len(failed)} failed: {", ".join(failed)}')
    return exit_status(bool(failed), share)


if __name__ == '__main__':
    run_script(main)
