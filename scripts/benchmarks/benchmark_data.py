"""Crops a second: BasicSR's PairedImageDataset and ours on 2K photos, and ours on tiles, in folders and in LMDBs.

The photos are scikit-image's, enlarged, put together to 2040x1356 pixels and given some grain, as plain enlargements
would be smaller files, and faster to read, than photos are. All files are in the computer's cache: on a slow disk small
tiles gain more.
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from usrdu_basicsr import register
from usrdu_basicsr.cli.command_line import positive, run_script

HEIGHT, WIDTH, SCALE, GT_SIZE = 1356, 2040, 4, 256
NAMES = ('astronaut', 'chelsea', 'coffee', 'rocket')


def main() -> int:
    """Exit status: 0."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--photos', type=positive, default=16, help='2K photos (default: %(default)s)')
    parser.add_argument(
        '--workers', type=positive, default=os.cpu_count(), help='of each loader (default: %(default)s)'
    )
    parser.add_argument('--batch', type=positive, default=16, help='crops a batch (default: %(default)s)')
    parser.add_argument('--seconds', type=positive, default=10, help='for each measurement (default: %(default)s)')
    parser.add_argument('--rounds', type=positive, default=3, help='measurements of each (default: %(default)s)')
    parser.add_argument('--passes', type=positive, default=10, help='for the memory (default: %(default)s)')
    args = parser.parse_args()

    register()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        make_data(root, args.photos)
        ways = {
            "BasicSR's, photos": paired(root),
            'ours, photos': ours(root / 'hr', root / 'set'),
            'ours, tiles': ours(root / 'tiles/hr', root / 'tiles'),
            'ours, tiles in LMDBs': ours(root / 'lmdb/hr.lmdb', root / 'lmdb', '.lmdb'),
            'the same, uncompressed': ours(root / 'plain/hr.lmdb', root / 'plain', '.lmdb'),
        }
        rounds = [[speed(opt, args) for opt in ways.values()] for _ in range(args.rounds)]
        memories = [memory(opt, args) for opt in ways.values()]
    speeds = [statistics.median(values) for values in zip(*rounds, strict=True)]
    print(f'{args.photos} photos of {WIDTH}x{HEIGHT}, crops of {GT_SIZE}, batch {args.batch}, {args.workers} workers')
    print(f'{"":24}{"crops/s":>10}{"gain":>8}{"MB after pass 1":>18}{f"after {args.passes}":>10}{"growth":>9}')
    for name, crops, (first, last) in zip(ways, speeds, memories, strict=True):
        growth = f'{last / first - 1:+.1%}'
        print(f'{name:24}{crops:10.1f}{crops / speeds[0]:7.1f}x{first:18.0f}{last:10.0f}{growth:>9}')
    return 0


def make_data(root: Path, count: int) -> None:
    """Photos, a generated set as a DSN could have made it, and their tiles, as files and in LMDBs."""
    import cv2
    from skimage import data

    from usrdu_basicsr.data_preparation.extract_subimages import extract_generated_subimages
    from usrdu_basicsr.data_preparation.pack_settings import PackingSettings
    from usrdu_basicsr.storage.generated_set import write_description, write_log_scale
    from usrdu_basicsr.utils.images import to_8bit, write_png

    rng = np.random.default_rng(0)
    sources = [getattr(data, name)()[..., ::-1].astype(np.float32) / 255 for name in NAMES]
    for number in range(count):
        columns = []
        for name in rng.permutation(len(sources))[:2]:  # two side by side
            source = sources[name]
            factor = max(HEIGHT / source.shape[0], WIDTH / 2 / source.shape[1]) * rng.uniform(1, 1.5)
            large = cv2.resize(source, None, fx=factor, fy=factor, interpolation=cv2.INTER_CUBIC)
            top, left = rng.integers(large.shape[0] - HEIGHT + 1), rng.integers(large.shape[1] - WIDTH // 2 + 1)
            columns.append(large[top : top + HEIGHT, left : left + WIDTH // 2])
        photo = np.hstack(columns) + rng.normal(0, 2 / 255, (HEIGHT, WIDTH, 3)).astype(np.float32)
        lq = cv2.resize(photo, (WIDTH // SCALE, HEIGHT // SCALE), interpolation=cv2.INTER_AREA)
        write_png(root / 'hr' / f'{number:04d}.png', to_8bit(photo))
        write_png(root / 'set/lr' / f'{number:04d}.png', to_8bit(lq))
        write_log_scale(root / 'set/log_scale' / f'{number:04d}.npy', rng.normal(1, 0.5, lq.shape))
    write_description(root / 'set', {'scale': SCALE, 'count': count})
    for name, compression in (('tiles', 1), ('lmdb', 1), ('plain', 0)):
        settings = PackingSettings(os.cpu_count() or 1, compression)
        extract_generated_subimages(root / 'hr', root / 'set', root / name, 480, 240, name != 'tiles', settings)


def paired(root: Path) -> dict:
    """Options of BasicSR's dataset."""
    return dataset('PairedImageDataset', root / 'hr', root / 'set/lr') | {'io_backend': {'type': 'disk'}}


def ours(hr: Path, generated: Path, suffix: str = '') -> dict:
    """Options of our dataset."""
    opt = dataset('UncertaintyPairedDataset', hr, generated / f'lr{suffix}')
    return opt | {'dataroot_log_scale': str(generated / f'log_scale{suffix}')}


def dataset(kind: str, hr: Path, lq: Path) -> dict:
    """What the options of both datasets share."""
    return {
        'name': kind,
        'type': kind,
        'dataroot_gt': str(hr),
        'dataroot_lq': str(lq),
        'phase': 'train',
        'scale': SCALE,
        'gt_size': GT_SIZE,
        'use_hflip': True,
        'use_rot': True,
    }


def batches(opt: dict, args: argparse.Namespace, least: int) -> Iterator[dict | None]:
    """Batches of passes over a dataset of at least so many crops, as BasicSR's loader makes them; None ends a pass."""
    from basicsr.data import build_dataloader, build_dataset
    from basicsr.data.data_sampler import EnlargedSampler

    opt = opt | {'num_worker_per_gpu': args.workers, 'batch_size_per_gpu': args.batch, 'persistent_workers': True}
    images = build_dataset(opt)
    sampler = EnlargedSampler(images, 1, 0, max(1, least / len(images)))
    loader = build_dataloader(images, opt, num_gpu=0, sampler=sampler, seed=0)
    while True:
        yield from loader
        yield None


def speed(opt: dict, args: argparse.Namespace) -> float:
    """Crops a second, once all workers are at work."""
    loader = batches(opt, args, 1_000_000)
    for _ in range(3 * args.workers):  # they work two batches ahead
        next(loader)
    start, count = time.perf_counter(), 0
    while time.perf_counter() - start < args.seconds:
        next(loader)
        count += args.batch
    return count / (time.perf_counter() - start)


def memory(opt: dict, args: argparse.Namespace) -> tuple[float, float]:
    """Megabytes of this process and the workers after the first and after the last pass."""
    loader = batches(opt, args, 10 * args.batch)
    used: list[float] = []
    while len(used) < args.passes:
        if next(loader) is None:
            used.append(proportional_memory())
    return used[0], used[-1]


def proportional_memory() -> float:
    """Megabytes that this process and its children hold, pages that they share counted once (Linux)."""
    children = Path(f'/proc/self/task/{os.getpid()}/children').read_text().split()
    total = 0
    for process in ('self', *children):
        for line in Path(f'/proc/{process}/smaps_rollup').read_text().splitlines():
            if line.startswith('Pss:'):
                total += int(line.split()[1])
    return total / 1024


if __name__ == '__main__':
    run_script(main)
