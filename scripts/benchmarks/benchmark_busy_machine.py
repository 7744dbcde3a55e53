"""Time of a training step alone and beside a second training on the same CPU cores.

Waiting OpenMP threads spin for several durations, among them PyTorch's default and the one that this package sets. All
are measured in turn, with the networks of the demo.
"""

import argparse
import json
import logging
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

from usrdu_basicsr.cli.command_line import positive, run_script

OPTIONS = Path(__file__).parents[2] / 'options' / 'demo' / 'train_dsn.yml'
SPIN_COUNTS = ('300000', '100000', '10000', '1000', '0', None)  # the default of libgomp first, of this package last


def main() -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--seconds', type=positive, default=30, help='duration of a measurement (default: %(default)s)')
    parser.add_argument('--rounds', type=positive, default=3, help='rounds over all settings (default: %(default)s)')
    parser.add_argument('--step', type=float, help=argparse.SUPPRESS)  # of the processes that this one starts
    args = parser.parse_args()
    if args.step is not None:
        print(json.dumps(time_steps(args.step)))
        return 0
    seconds: dict[tuple[str | None, int], list[float]] = {}
    for _ in range(args.rounds):
        for spin_count in SPIN_COUNTS:
            for trainings in (1, 2):
                seconds.setdefault((spin_count, trainings), []).append(measure(spin_count, trainings, args.seconds))
    print(f'{"GOMP_SPINCOUNT":16}{"alone, s":>10}{"two at once, s":>16}{"ratio":>8}')
    for spin_count in SPIN_COUNTS:
        alone, two = (statistics.median(seconds[spin_count, trainings]) for trainings in (1, 2))
        print(f'{spin_count or "not set":16}{alone:10.3f}{two:16.3f}{two / alone:8.2f}')
    return 0


def measure(spin_count: str | None, trainings: int, seconds: float) -> float:
    """Median time of a step of simultaneous trainings."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith(('OMP_', 'GOMP_'))}
    if spin_count is not None:
        environment['GOMP_SPINCOUNT'] = spin_count
    command = [sys.executable, __file__, '--step', str(seconds)]
    processes = [
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) for _ in range(trainings)
    ]
    return statistics.median(step for process in processes for step in json.loads(process.communicate()[0]))


def time_steps(seconds: float) -> list[float]:
    """Times of the training steps of stage 1 that follow a warm-up, without those that may run alone."""
    from usrdu_basicsr import register

    register()
    logging.disable(logging.WARNING)  # the summary of each network
    import torch
    from basicsr.models import build_model

    from usrdu_basicsr.options.reading import read_options_file

    opt = read_options_file(str(OPTIONS)).options
    opt |= {'num_gpu': 0, 'dist': False, 'rank': 0, 'world_size': 1, 'is_train': True}
    model = build_model(opt)
    batch, size = (opt['datasets']['train'][key] for key in ('batch_size_per_gpu', 'gt_size'))
    data = {'gt': torch.rand(batch, 3, size, size), 'lq': torch.rand(batch, 3, size // 4, size // 4)}
    times, start = [], time.perf_counter()
    while (now := time.perf_counter()) < start + seconds:
        model.feed_data(data)
        model.optimize_parameters(1)
        if start + seconds / 4 < now < start + 3 * seconds / 4:
            times.append(time.perf_counter() - now)
    return times


if __name__ == '__main__':
    run_script(main)
