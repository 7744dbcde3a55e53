"""Export a trained SR network (stage 2) to safetensors, ONNX and torch.export, each compared with PyTorch."""

import argparse

FORMATS = ('safetensors', 'onnx', 'pt2')


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command."""
    parser.add_argument('--model_path', required=True, help='checkpoint of stage 2, or any RRDBNet or SRVGGNetCompact')
    parser.add_argument('-o', '--output', required=True, help='output folder; the files are named like the checkpoint')
    parser.add_argument('--format', nargs='+', choices=FORMATS, default=FORMATS, help='file formats (default: all)')
    parser.add_argument('--license', default='not stated', help='license of the weights, for the metadata')
    parser.add_argument('-opt', help='options file of the training, for other architectures and for the metadata')
    parser.add_argument('--overwrite', action='store_true', help='overwrite existing files')


def run(args: argparse.Namespace) -> int:
    """Run the command and return the exit status 0."""
    from usrdu_basicsr.compat.registration import register

    register()
    from usrdu_basicsr.export.export import export_network
    from usrdu_basicsr.options.reading import read_network_options

    options = read_network_options(args.opt) if args.opt else None
    for file in export_network(args.model_path, args.output, args.format, args.license, options, args.overwrite):
        print(f'{file.path}: {file.size / 1e6:.1f} MB, differs from PyTorch by at most {file.difference:.1e}')
    return 0
