"""Check datasets before a long run: decode every file and report all problems."""

import argparse
from typing import TYPE_CHECKING, Any

from usrdu_basicsr.cli.command_line import UsageError, add_workers, positive

if TYPE_CHECKING:
    from usrdu_basicsr.options.reading import OptionsFile


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
    from usrdu_basicsr.options.checking import check_options, is_for_this_package
    from usrdu_basicsr.options.reading import read_options_file

    datasets, invalid = {'folders': from_arguments(args)}, []
    if args.opt is not None:
        supported = is_for_this_package(args.opt)
        file = read_options_file(args.opt)
        datasets = from_options(file)
        invalid = check_options(file, is_train='train' in file.options, check_paths=True) if supported else []
    for each in invalid:
        print(f'PROBLEM: {each}')
    problems = len(invalid)
    for name, dataset in datasets.items():
        if any(each.path == ('scale',) or each.path[:2] == ('datasets', name) for each in invalid):
            continue
        report = check_dataset(dataset, args.workers)
        print(f'{name}: {dataset.get("type")}')
        for line in (*report.summary, *(f'note: {note}' for note in report.notes)):
            print(f'  {line}')
        for problem in report.problems:
            print(f'  PROBLEM: {problem}')
        problems += len(report.problems)
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
    return roots | {'type': dataset_type, 'phase': 'train', 'scale': args.scale, 'gt_size': args.gt_size, 'margin': 0}


def from_options(file: 'OptionsFile') -> dict[str, dict[str, Any]]:
    """Sections of `datasets` in an options file, with the `phase` and `scale` that BasicSR adds."""
    datasets = file.options.get('datasets')
    return {
        name: {**dataset, 'phase': str(name).split('_')[0], 'scale': file.options.get('scale')}
        for name, dataset in (datasets.items() if isinstance(datasets, dict) else ())
        if isinstance(dataset, dict)
    }
