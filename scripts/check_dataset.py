"""Look datasets over before a long run: decode every file, and report every problem at once."""

import argparse
from collections.abc import Mapping
from typing import Any

from usrdu_basicsr import register
from usrdu_basicsr.cli.command_line import add_workers, positive, run_script


def main() -> int:
    """Exit status: 1 if there is a problem."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('-opt', help='options file, all of whose datasets are looked over; or name folders:')
    parser.add_argument('--gt', help='folder or LMDB of HR photos')
    parser.add_argument('--lq', help='folder or LMDB of LR images')
    parser.add_argument('--log_scale', help='folder or LMDB of log-scales')
    parser.add_argument('--pairs', action='store_true', help='each HR photo has an LR image of the same name')
    parser.add_argument('--scale', type=positive, default=4, help='HR pixels to an LR pixel (default: %(default)s)')
    parser.add_argument('--gt_size', type=positive, help='side of the HR crops that training will take')
    add_workers(parser)
    args = parser.parse_args()
    if (args.opt is None) == (args.gt is None and args.lq is None):
        parser.error('give either -opt FILE, or --gt and --lq or one of them')
    if (args.pairs or args.log_scale is not None) and None in (args.gt, args.lq):
        parser.error('pairs and log-scales need both --gt and --lq')

    register()
    from usrdu_basicsr.data_preparation.check_dataset import check_dataset

    datasets = {'folders': from_arguments(args)} if args.opt is None else from_options(args.opt)
    problems = 0
    for name, dataset in datasets.items():
        report = check_dataset(dataset, args.workers)
        wrong = [] if args.opt is None else option_problems(dataset)
        if report.summary or not wrong:  # what was looked at; otherwise both tell of the same options
            wrong += report.problems
        print(f'{name}: {dataset.get("type")}')
        for line in (*report.summary, *(f'note: {note}' for note in report.notes)):
            print(f'  {line}')
        for problem in wrong:
            print(f'  PROBLEM: {problem}')
        problems += len(wrong)
    print(f'{problems} problem{"s" * (problems != 1)}')
    return 1 if problems else 0


def from_arguments(args: argparse.Namespace) -> dict[str, Any]:
    """A section of `datasets` that holds what the arguments say."""
    roots = {'dataroot_gt': args.gt, 'dataroot_lq': args.lq, 'dataroot_log_scale': args.log_scale}
    if args.log_scale is not None:
        kind = 'UncertaintyPairedDataset'
    elif args.pairs:
        kind = 'PairedImageDataset'
    elif None not in (args.gt, args.lq):
        kind = 'UnpairedImageDataset'
    else:
        kind = 'HRImageDataset' if args.lq is None else 'SingleImageDataset'
    return roots | {'type': kind, 'phase': 'train', 'scale': args.scale, 'gt_size': args.gt_size}


def option_problems(dataset: Mapping[str, Any]) -> list[str]:
    """What a launcher would refuse in a section, without looking at its images."""
    from usrdu_basicsr.options.dataset_rules import check_section
    from usrdu_basicsr.options.section_check import OptionCheck

    check = OptionCheck()
    check_section(check, dataset, dataset['phase'], '')
    return check.problems


def from_options(path: str) -> dict[str, Mapping[str, Any]]:
    """The sections of `datasets` in an options file, completed as BasicSR does.

    Raises:
        InputNotFoundError: There is no such file.
        InputError: It is not such a file.
    """
    from usrdu_basicsr.options.reading import check_options_file, read_options_file

    check_options_file(['-opt', path])
    opt = read_options_file(path)
    return {
        name: {**dataset, 'phase': name.split('_')[0], 'scale': opt.get('scale')}
        for name, dataset in opt['datasets'].items()
    }


if __name__ == '__main__':
    run_script(main)
