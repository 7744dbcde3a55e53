"""Train every method on every camera with every seed, and write tables, plots and crops. It resumes a study.

python scripts/study/run_study.py --bsds BSDS500 --phone City100 --lpips alexnet.pth -o study
"""

import argparse
import json
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from usrdu_basicsr import register
from usrdu_basicsr.cli.command_line import positive, run_script
from usrdu_basicsr.utils.errors import InputError
from usrdu_basicsr.utils.files import write_text

if TYPE_CHECKING:
    from study_cell import Cell

SIZES = ('images', 'side', 'validation', 'iterations', 'gt_size')


def main() -> int:
    """Run the cells that are missing; exit status 1 if one failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        '--grid', type=Path, default=Path(__file__).with_name('study.yml'), help='YAML file (default: study.yml)'
    )
    parser.add_argument('--bsds', type=Path, required=True, help='folder with train/ and test/ of BSDS500')
    parser.add_argument('--phone', type=Path, required=True, help='folder with HR/ and LR/ of City100')
    parser.add_argument('--lpips', type=Path, required=True, help="torchvision's weights of AlexNet")
    parser.add_argument('-o', '--output', type=Path, required=True, help='folder of the study')
    parser.add_argument('--cameras', nargs='+', help='some of the cameras')
    parser.add_argument('--methods', nargs='+', help='some of the methods')
    parser.add_argument('--seeds', type=positive, default=3, help='number of seeds (default: %(default)s)')
    parser.add_argument('--budget', type=positive, default=1, help='factor of all iterations (default: %(default)s)')
    parser.add_argument('--jobs', type=positive, default=2, help='cells that run side by side (default: %(default)s)')
    args = parser.parse_args()
    register()
    from study_cell import cells
    from study_data import prepare
    from study_pictures import write_crops
    from study_plots import write_plots
    from study_table import metrics_table, read_results, write_tables

    grid = yaml.safe_load(args.grid.read_text(encoding='utf-8'))
    grid['iterations'] = {stage: args.budget * count for stage, count in grid['iterations'].items()}
    root = args.output.resolve()
    check_sizes(root / 'sizes.json', {name: grid[name] for name in SIZES})
    selected = {'cameras': args.cameras or list(grid['cameras']), 'methods': args.methods or list(grid['methods'])}
    for kind, names in selected.items():
        if unknown := set(names) - set(grid[kind]):
            raise InputError(f'--{kind}: got {", ".join(sorted(unknown))}, expected some of {", ".join(grid[kind])}')
    todo = cells(root, grid, args.lpips.resolve(), selected['cameras'], selected['methods'], args.seeds)
    for name in selected['cameras']:
        prepare(root / 'data' / name, name, grid, args.bsds, args.phone)

    jobs: dict[str, list[Cell]] = {}
    for cell in todo:
        if not cell.result.exists():
            jobs.setdefault(cell.job, []).append(cell)
    minutes = sum(job[0].minutes for job in jobs.values()) / args.jobs
    print(f'{sum(map(len, jobs.values()))} of {len(todo)} cells are missing, about {minutes:.0f} minutes', flush=True)
    with ThreadPoolExecutor(args.jobs) as pool:
        failed = sum(pool.map(lambda job: sum(map(run, job)), jobs.values()))
    results = read_results(todo)
    table = metrics_table(results)
    print(write_tables(root, results, table))
    write_crops(root, todo)
    write_plots(root, todo, table)
    return 1 if failed else 0


def check_sizes(file: Path, sizes: dict[str, Any]) -> None:
    """Record the sizes of a study; an InputError if it was started with others."""
    text = json.dumps(sizes, sort_keys=True)
    if file.exists() and file.read_text(encoding='utf-8') != text:
        raise InputError(f"'{file.parent}' has a study of other sizes. Choose another folder")
    write_text(file, text)


def run(cell: 'Cell') -> bool:
    """Run a cell, report its time, and return whether it failed."""
    start = time.perf_counter()
    try:
        cell.run()
    except subprocess.CalledProcessError as error:
        print(f'{cell.name}: failed with status {error.returncode}, see {cell.folder / "log.txt"}', flush=True)
        return True
    print(f'{cell.name}: {time.perf_counter() - start:.0f} s', flush=True)
    return False


if __name__ == '__main__':
    run_script(main)
