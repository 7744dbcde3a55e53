"""Check datasets before a long run: decode every file and report all problems."""

import argparse
from collections.abc import Mapping
from typing import Any

from usrdu_basicsr.cli.command_line import UsageError, add_workers, positive


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command."""
    parser.add_argument('-opt', help='options file whose datasets are checked, instead of --gt and --lq')
    parser.add_argument('--gt', help='folder or LMDB of HR images')
    parser.add_argument('--lq', help='folder or LMDB of LR images')
    parser.add_argument('--log_scale', help='folder or LMDB of log-scale maps')
    parser.add_argument('--pairs', action='store_true', help='expect an LR image of the same name for each HR image')
    parser.add_argument('--scale', type=positive, default=4, help='upscaling factor (default: %(default)s)')
    parser.add_argument('--gt_size', type=positive, help='side of the HR training patches in pixels')
    add_workers(parser)


def run(args: argparse.Namespace) -> int:
    """Run the command and return its exit status: 1 if there is a problem."""
    if (args.opt is None) == (args.gt is None and args.lq is None):
        raise UsageError('pass either -opt FILE, or --gt, --lq or both')
    if (args.pairs or args.log_scale is not None) and None in (args.gt, args.lq):
        raise UsageError('--pairs and --log_scale need both --gt and --lq')

    from usrdu_basicsr.compat.registration import register

    register()
    from usrdu_basicsr.data_preparation.check_dataset import check_dataset

    datasets = {'folders': from_arguments(args)} if args.opt is None else from_options(args.opt)
    problems = 0
    for name, dataset in datasets.items():
        report = check_dataset(dataset, args.workers)
        found = [] if args.opt is None else option_problems(dataset)
        if report.summary or not found:  # without a summary, both lists name the same options
            found += report.problems
        print(f'{name}: {dataset.get("type")}')
        for line in (*report.summary, *(f'note: {note}' for note in report.notes)):
            print(f'  {line}')
        for problem in found:
            print(f'  PROBLEM: {problem}')
        problems += len(found)
    print(f'{problems} problem{"s" * (problems != 1)}')
    return 1 if problems else 0


def from_arguments(args: argparse.Namespace) -> dict[str, Any]:
    """Section of `datasets` for the folders of the command line."""
    roots = {'dataroot_gt': args.gt, 'dataroot_lq': args.lq, 'dataroot_log_scale': args.log_scale}
    if args.log_scale is not None:
        dataset_type = 'UncertaintyPairedDataset'
    elif args.pairs:
        dataset_type = 'PairedImageDataset'
    elif None not in (args.gt, args.lq):
        dataset_type = 'UnpairedImageDataset'
    else:
        dataset_type = 'HRImageDataset' if args.lq is None else 'SingleImageDataset'
    return roots | {'type': dataset_type, 'phase': 'train', 'scale': args.scale, 'gt_size': args.gt_size}


def option_problems(dataset: Mapping[str, Any]) -> list[str]:
    """Problems of a section that prevent training, apart from its images."""
    from usrdu_basicsr.options.dataset_rules import check_dataset_options
    from usrdu_basicsr.options.option_checker import OptionChecker

    checker = OptionChecker()
    check_dataset_options(checker, dataset, dataset['phase'], '')
    return checker.problems


def from_options(path: str) -> dict[str, Mapping[str, Any]]:
    """Sections of `datasets` in an options file, with the `phase` and `scale` that BasicSR adds.

    Raises:
        InputNotFoundError: If the file does not exist.
        InputError: If it is not an options file.
    """
    from usrdu_basicsr.options.reading import check_options_file, read_options_file

    check_options_file(['-opt', path])
    opt = read_options_file(path)
    return {
        name: {**dataset, 'phase': name.split('_')[0], 'scale': opt.get('scale')}
        for name, dataset in opt['datasets'].items()
    }
