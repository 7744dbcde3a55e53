"""Measure patches per second: BasicSR's PairedImageDataset and this package's dataset on 2K images and sub-images.

The images are composed of scikit-image's, enlarged to 2040x1356 pixels, with added noise. Without noise the
files would be smaller and faster to read than those of camera images. All files are in the cache of the operating
system. On a slow disk sub-images gain more.
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
    parser.add_argument('--images', type=positive, default=16, help='number of 2K images (default: %(default)s)')
    parser.add_argument(
        '--workers', type=positive, default=os.cpu_count(), help='workers of each loader (default: %(default)s)'
    )
    parser.add_argument('--batch', type=positive, default=16, help='patches per batch (default: %(default)s)')
    parser.add_argument('--seconds', type=positive, default=10, help='seconds per measurement (default: %(default)s)')
    parser.add_argument('--rounds', type=positive, default=3, help='measurements per dataset (default: %(default)s)')
    parser.add_argument('--passes', type=positive, default=10, help='epochs of the memory check (default: %(default)s)')
    args = parser.parse_args()

    register()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        make_data(root, args.images)
        variants = {
            'BasicSR, images': paired(root),
            'images': generated_set(root / 'hr', root / 'set'),
            'sub-images': generated_set(root / 'subimages/hr', root / 'subimages'),
            'sub-images in LMDBs': generated_set(root / 'lmdb/hr.lmdb', root / 'lmdb', '.lmdb'),
            'the same, uncompressed': generated_set(root / 'plain/hr.lmdb', root / 'plain', '.lmdb'),
        }
        rounds = [[speed(opt, args) for opt in variants.values()] for _ in range(args.rounds)]
        memories = [memory(opt, args) for opt in variants.values()]
    speeds = [statistics.median(values) for values in zip(*rounds, strict=True)]
    print(f'{args.images} images of {WIDTH}x{HEIGHT}, patches of {GT_SIZE}, batch {args.batch}, {args.workers} workers')
    print(f'{"":24}{"patches/s":>10}{"gain":>8}{"MB, epoch 1":>18}{f"epoch {args.passes}":>10}{"growth":>9}')
    for name, patches, (first, last) in zip(variants, speeds, memories, strict=True):
        growth = f'{last / first - 1:+.1%}'
        print(f'{name:24}{patches:10.1f}{patches / speeds[0]:7.1f}x{first:18.0f}{last:10.0f}{growth:>9}')
    return 0


def make_data(root: Path, count: int) -> None:
    """Write images, a generated set for them, and their sub-images, as files and in LMDBs."""
    import cv2
    from skimage import data

    from usrdu_basicsr.data_preparation.extract_subimages import extract_subimages
    from usrdu_basicsr.data_preparation.packing import PackingSettings
    from usrdu_basicsr.storage.generated_set import write_description, write_log_scale
    from usrdu_basicsr.utils.images import to_8bit, write_png

    rng = np.random.default_rng(0)
    sources = [getattr(data, name)()[..., ::-1].astype(np.float32) / 255 for name in NAMES]
    for number in range(count):
        columns = []
        for name in rng.permutation(len(sources))[:2]:  # two images next to each other
            source = sources[name]
            factor = max(HEIGHT / source.shape[0], WIDTH / 2 / source.shape[1]) * rng.uniform(1, 1.5)
            large = cv2.resize(source, None, fx=factor, fy=factor, interpolation=cv2.INTER_CUBIC)
            top, left = rng.integers(large.shape[0] - HEIGHT + 1), rng.integers(large.shape[1] - WIDTH // 2 + 1)
            columns.append(large[top : top + HEIGHT, left : left + WIDTH // 2])
        image = np.hstack(columns) + rng.normal(0, 2 / 255, (HEIGHT, WIDTH, 3)).astype(np.float32)
        lq = cv2.resize(image, (WIDTH // SCALE, HEIGHT // SCALE), interpolation=cv2.INTER_AREA)
        write_png(root / 'hr' / f'{number:04d}.png', to_8bit(image))
        write_png(root / 'set/lr' / f'{number:04d}.png', to_8bit(lq))
        write_log_scale(root / 'set/log_scale' / f'{number:04d}.npy', rng.normal(1, 0.5, lq.shape))
    write_description(root / 'set', {'scale': SCALE, 'count': count})
    for name, compression in (('subimages', 1), ('lmdb', 1), ('plain', 0)):
        settings = PackingSettings(os.cpu_count() or 1, compression)
        extract_subimages(root / 'hr', root / name, 480, 240, root / 'set', name != 'subimages', settings)


def paired(root: Path) -> dict:
    """Options of BasicSR's dataset."""
    return dataset('PairedImageDataset', root / 'hr', root / 'set/lr') | {'io_backend': {'type': 'disk'}}


def generated_set(hr: Path, generated: Path, suffix: str = '') -> dict:
    """Options of this package's dataset."""
    opt = dataset('UncertaintyPairedDataset', hr, generated / f'lr{suffix}')
    return opt | {'dataroot_log_scale': str(generated / f'log_scale{suffix}')}


def dataset(kind: str, hr: Path, lq: Path) -> dict:
    """Options that both datasets have in common."""
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
    """Yield batches of BasicSR's loader, from epochs of at least `least` patches, and None at the end of each epoch."""
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
    """Measure patches per second, once all workers are running."""
    loader = batches(opt, args, 1_000_000)
    for _ in range(3 * args.workers):  # they prefetch two batches
        next(loader)
    start, count = time.perf_counter(), 0
    while time.perf_counter() - start < args.seconds:
        next(loader)
        count += args.batch
    return count / (time.perf_counter() - start)


def memory(opt: dict, args: argparse.Namespace) -> tuple[float, float]:
    """Measure the megabytes of this process and its workers after the first and after the last epoch."""
    loader = batches(opt, args, 10 * args.batch)
    used: list[float] = []
    while len(used) < args.passes:
        if next(loader) is None:
            used.append(proportional_memory())
    return used[0], used[-1]


def proportional_memory() -> float:
    """Return the megabytes of this process and its children, shared pages counted once (Linux)."""
    children = Path(f'/proc/self/task/{os.getpid()}/children').read_text().split()
    total = 0
    for process in ('self', *children):
        for line in Path(f'/proc/{process}/smaps_rollup').read_text().splitlines():
            if line.startswith('Pss:'):
                total += int(line.split()[1])
    return total / 1024


if __name__ == '__main__':
    run_script(main)
