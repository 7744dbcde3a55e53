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
from usrdu_basicsr.utils.errors import InputError, UserError
from usrdu_basicsr.utils.files import write_text

if TYPE_CHECKING:
    from study_cell import Cell

SIZES = ('images', 'side', 'validation', 'iterations', 'gt_size', 'network')
NETWORKS = ('IdentitySRVGGNetCompact', 'SRVGGNetCompact_basicsr')


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
    parser.add_argument(
        '--network', choices=NETWORKS, default=NETWORKS[0], help='type of the SR network (default: %(default)s)'
    )
    parser.add_argument('--jobs', type=positive, default=2, help='cells that run side by side (default: %(default)s)')
    args = parser.parse_args()
    register()
    from study_cell import STOPPED, cells
    from study_data import prepare
    from study_pictures import write_crops
    from study_plots import write_plots
    from study_table import metrics_table, read_results, write_tables

    grid = yaml.safe_load(args.grid.read_text(encoding='utf-8'))
    grid['iterations'] = {stage: args.budget * count for stage, count in grid['iterations'].items()}
    grid['network'] = args.network
    root = args.output.resolve()
    selected = {'cameras': args.cameras or list(grid['cameras']), 'methods': args.methods or list(grid['methods'])}
    for kind, names in selected.items():
        if unknown := set(names) - set(grid[kind]):
            raise InputError(f'--{kind}: got {", ".join(sorted(unknown))}, expected some of {", ".join(grid[kind])}')
    methods = {f'method {name}': grid['methods'][name] for name in selected['methods']}
    check_settings(root / 'settings.json', {name: grid[name] for name in SIZES} | methods)
    todo = cells(root, grid, args.lpips.resolve(), selected['cameras'], selected['methods'], args.seeds)
    for name in selected['cameras']:
        prepare(root / 'data' / name, name, grid, args.bsds, args.phone)

    missing = [cell for cell in todo if not cell.result.exists()]
    jobs: dict[str, list[Cell]] = {}
    for cell in missing:
        jobs.setdefault(cell.job, []).append(cell)
    minutes = sum({name: each for cell in missing for name, each in cell.minutes.items()}.values()) / args.jobs
    print(f'{len(missing)} of {len(todo)} cells are missing, about {minutes:.0f} minutes', flush=True)

    def run_job(job: list['Cell']) -> int:
        return sum(run(cell) for cell in job if not STOPPED.is_set())

    with ThreadPoolExecutor(args.jobs) as pool:
        try:
            failed = sum(pool.map(run_job, jobs.values()))
        finally:
            STOPPED.set()
    seeds = 1 + max((int(path.parent.name.split('-')[-1]) for path in root.glob('cells/*/result.json')), default=0)
    every = cells(root, grid, args.lpips, grid['cameras'], grid['methods'], seeds)
    results = read_results(every)
    table = metrics_table(results)
    print(write_tables(root, results, table))
    write_crops(root, every)
    write_plots(root, every, table)
    return 1 if failed else 0


def check_settings(file: Path, settings: dict[str, Any]) -> None:
    """Record the settings of a study; an InputError if an earlier call had others."""
    recorded = json.loads(file.read_text(encoding='utf-8')) if file.exists() else {}
    settings = json.loads(json.dumps(settings))  # keys are texts, as those of the file
    if changed := [name for name, value in settings.items() if recorded.get(name, value) != value]:
        raise InputError(
            f"'{file.parent}' has a study with other settings of {', '.join(changed)}. Choose another folder"
        )
    write_text(file, json.dumps(recorded | settings, indent=2))


def run(cell: 'Cell') -> bool:
    """Run a cell, report its time, and return whether it failed."""
    start = time.perf_counter()
    try:
        cell.run()
    except subprocess.CalledProcessError as error:
        print(f'{cell.name}: failed with status {error.returncode}, see {cell.folder / "log.txt"}', flush=True)
        return True
    except UserError as error:
        print(f'{cell.name}: failed: {error}', flush=True)
        return True
    print(f'{cell.name}: {time.perf_counter() - start:.0f} s', flush=True)
    return False


if __name__ == '__main__':
    run_script(main)
