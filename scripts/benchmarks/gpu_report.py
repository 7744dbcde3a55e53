"""Run the tests marked `cuda`, the benchmarks and the demo on a GPU within ten minutes, and write a report of them.

Writes gpu.json and the GPU tables of benchmarks.md into the folder of the documentation. Each part runs in a folder of
its own, which contains its output. A failing part does not stop the others; the exit status is 1 if one has failed.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from gpu_tables import update_page
from parts import Part, run_parts
from usrdu_basicsr.cli.command_line import run_script
from usrdu_basicsr.utils.errors import InputError
from usrdu_basicsr.utils.files import write_text

ROOT = Path(__file__).parents[2]
BENCHMARKS = ROOT / 'scripts' / 'benchmarks'
SECONDS = 570  # of the whole report, less than ten minutes with the start and the end of Python
# The first parts run at the same time, because nothing is timed in them. The last one gets the remaining time.
PHASES = (('tests', 'demo'), ('kernelgan',), ('inference',), ('training',))
NAMES = [name for phase in PHASES for name in phase]
LIMITS = {'tests': 200, 'demo': 200, 'kernelgan': 60, 'inference': 60, 'training': SECONDS}
TESTS = {'cuda': (ROOT / 'tests', '-m', 'cuda'), 'cpu': (ROOT / 'tests' / 'devices', '-m', 'not (cuda or slow)')}
ARGUMENTS = {
    'kernelgan': ('--batch', '1', '16', '64', '128', '--rounds', '3'),
    'inference': ('--size', '256', '384', '--precisions', 'fp32', 'tf32', 'bf16', 'fp16'),
    'training': ('--compile', '--rounds', '1', '--steps', '20'),
    'demo': (),
}
SMALL_ARGUMENTS = {
    'kernelgan': ('--batch', '2', '--rounds', '1'),
    'inference': ('--size', '32', '48', '--precisions', 'fp32', '--repeat', '1'),
    'training': (
        *('--rounds', '1', '--steps', '1', '--gt_size', '64', '--batch', '1', '--num_block', '1', '1'),
        *('--image_size', '64', '96'),
    ),
    'demo': ('--force_yml', 'train:total_iter=2'),
}


def main() -> int:
    """Run the report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    output = Path('gpu_report', time.strftime('%Y%m%d_%H%M%S'))
    parser.add_argument(
        '-o', '--output', type=Path, default=output, help='new folder of the parts (default: %(default)s)'
    )
    parser.add_argument('--docs', type=Path, default=ROOT / 'docs', help='folder of benchmarks.md (default: docs)')
    parser.add_argument('--parts', nargs='+', choices=NAMES, default=NAMES, help='parts to run (default: all)')
    parser.add_argument('--device', choices=['cuda', 'cpu'], default='cuda', help='cpu tests this script')
    parser.add_argument('--small', action='store_true', help='smallest settings, which test this script')
    args = parser.parse_args()
    start = time.monotonic()
    if args.output.exists():
        raise InputError(f"output '{args.output}' already exists. Remove it, or choose another folder")
    environment = one_gpu(args.device)
    report: dict[str, Any] = {'machine': machine(args.device, environment), 'parts': {}}
    for phase in PHASES:
        parts = [part(name, args.device, args.small, environment) for name in phase if name in args.parts]
        if not parts:
            continue
        print(f'running {" and ".join(each.name for each in parts)} ...', flush=True)
        for name, result in run_parts(parts, args.output.resolve(), start + SECONDS).items():
            figures = read_figures(args.output / name)
            if name == 'tests' and result.result == 'passed' and not figures.get('passed'):
                result.result = 'no test ran'
            report['parts'][name] = vars(result) | {'figures': figures}
            print(f'{name}: {result.result}, {result.seconds:.0f} s', flush=True)
    report['seconds'] = time.monotonic() - start
    write_text(args.docs / 'gpu.json', json.dumps(report, indent=2) + '\n')
    update_page(args.docs / 'benchmarks.md', report)
    failed = [name for name, result in report['parts'].items() if result['result'] != 'passed']
    for name in failed:
        print(f'FAILED: {name}, see {args.output / name / "output.txt"}')
    print(f'wrote {args.docs / "gpu.json"} and the tables of {args.docs / "benchmarks.md"}')
    return 1 if failed else 0


def one_gpu(device: str) -> dict[str, str]:
    """Environment of all parts but the tests, in which they see one GPU, or none."""
    visible = os.environ.get('CUDA_VISIBLE_DEVICES', '0').split(',')[0] if device == 'cuda' else ''
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get('PYTHONPATH')])])
    return {'CUDA_VISIBLE_DEVICES': visible, 'PYTHONPATH': path}


def machine(device: str, environment: dict[str, str]) -> dict[str, Any]:
    """Hardware and versions, determined in a process of its own so that this one takes no memory of the GPU."""
    command = [sys.executable, BENCHMARKS / 'machine.py', '--device', device]
    result = subprocess.run(command, env=os.environ | environment, capture_output=True, text=True)
    if result.returncode:
        last_line = (result.stderr.strip().splitlines() or ['no output'])[-1]
        raise InputError(f'no report without a usable GPU: {last_line.removeprefix("error: ")}')
    return json.loads(result.stdout.splitlines()[-1])


def part(name: str, device: str, small: bool, environment: dict[str, str]) -> Part:
    """Command of a part. It writes its figures to `figures.json` or, the tests, to `figures.xml`."""
    command: Sequence[str | Path]
    arguments = (SMALL_ARGUMENTS if small else ARGUMENTS).get(name, ())
    if name == 'tests':
        workers = ('-n', '4', '--dist', 'worksteal') if device == 'cuda' else ()
        pytest = (sys.executable, '-m', 'pytest', '-c', ROOT / 'pyproject.toml', '-p', 'no:cacheprovider', '-q', '-rfE')
        command = (*pytest, *TESTS[device], *workers, '--junitxml', 'figures.xml')
        hidden = {'CUDA_VISIBLE_DEVICES': ''} if device == 'cpu' else {}
        environment = {'PYTHONPATH': environment['PYTHONPATH'], 'OMP_NUM_THREADS': '1', **hidden}
    elif name == 'demo':
        command = ('bash', ROOT / 'scripts' / 'demo.sh', *arguments)
        environment = environment | {'PYTHON': sys.executable}
    else:
        script = (sys.executable, BENCHMARKS / f'benchmark_{name}.py', '--device', device)
        command = (*script, '--json', 'figures.json', *arguments)
    return Part(name, command, LIMITS[name], environment)


def read_figures(folder: Path) -> dict[str, Any]:
    """Figures that a part has written, empty if it wrote none."""
    for path in (folder / 'figures.json', folder / 'demo_output' / 'figures.json'):
        if path.is_file():
            return json.loads(path.read_text())
    if (path := folder / 'figures.xml').is_file():
        return count_tests(path)
    return {}


def count_tests(path: Path) -> dict[str, Any]:
    """Numbers of tests by outcome, and the names of the failed ones, from a JUnit XML file."""
    outcomes: dict[str, list[str]] = {'passed': [], 'failed': [], 'skipped': []}
    for case in ElementTree.parse(path).iter('testcase'):
        kinds = {child.tag for child in case}
        outcome = 'failed' if kinds & {'failure', 'error'} else 'skipped' if 'skipped' in kinds else 'passed'
        outcomes[outcome].append(f'{case.get("classname")}::{case.get("name")}')
    return {outcome: len(names) for outcome, names in outcomes.items()} | {'failures': outcomes['failed']}


if __name__ == '__main__':
    run_script(main)
