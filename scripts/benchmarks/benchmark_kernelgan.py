"""Time KernelGAN layer by layer, as one kernel, and in batches: in turn, in one process, on one image."""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch

from usrdu_basicsr import register
from usrdu_basicsr.cli.command_line import add_device, positive, run_script

WARM_UP = 3  # iterations that are not timed
LAYERED_ITERATIONS, ITERATIONS = 8, 60


def main() -> int:
    """Print milliseconds per iteration and image and images per hour, medians of all rounds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('-i', '--input', help="image (default: scikit-image's astronaut)")
    parser.add_argument('--batch', type=positive, nargs='+', default=[1, 16], help='images at once (default: 1 16)')
    parser.add_argument('--rounds', type=positive, default=5, help='runs of each variant (default: %(default)s)')
    parser.add_argument('--json', type=Path, help='JSON file of the results')
    add_device(parser)
    args = parser.parse_args()

    register()
    from skimage import data

    from layered_kernelgan import LayeredKernelGAN
    from usrdu_basicsr.kernelgan import training
    from usrdu_basicsr.kernelgan.crops import D_CROP, G_CROP, SourceImages
    from usrdu_basicsr.utils.device import pick_device
    from usrdu_basicsr.utils.files import write_text
    from usrdu_basicsr.utils.images import read_image

    device = pick_device(args.device)
    image = read_image(Path(args.input))[..., ::-1] if args.input else data.astronaut().astype('float32') / 255

    def layered(tick: Callable[[], None]) -> None:
        gan = LayeredKernelGAN(training.KernelGANs([0], device))
        shape = (1, 3, D_CROP, D_CROP)
        for _ in range(LAYERED_ITERATIONS):
            crop = torch.rand(1, 3, G_CROP, G_CROP, device=device) * 2 - 1
            target, real, noise = (torch.randn(shape, device=device) for _ in range(3))
            gan.step(crop, target, real, fake_noise=noise)
            tick()
        gan.kernel().cpu()

    def batched(batch: int) -> Callable[[Callable[[], None]], None]:
        images = SourceImages([image] * batch, device)  # distinct copies, as for distinct images
        return lambda tick: training.train_kernels(images, range(batch), range(batch), device, ITERATIONS, tick)

    variants = {'layer by layer': (layered, 1)}
    variants |= {f'one kernel, batch {batch}': (batched(batch), batch) for batch in args.batch}
    rounds = [[time_iteration(run, device) / batch for run, batch in variants.values()] for _ in range(args.rounds)]
    each = dict(zip(variants, map(statistics.median, zip(*rounds, strict=True)), strict=True))

    print(f'{device}, torch {torch.__version__}, {torch.get_num_threads()} threads, {training.ITERATIONS} iterations')
    print(
        'one run per image; a batch of 1 trains a second, discarded run, so that rounding equals that of larger batches'
    )
    figures = {}
    for name, seconds in each.items():
        hourly = 3600 / seconds / training.ITERATIONS
        faster = each['layer by layer'] / seconds
        print(f'{name:24}{seconds * 1e3:8.2f} ms per iteration{hourly:9.1f} images per hour{faster:8.1f} x')
        figures[name] = {'milliseconds': seconds * 1e3, 'images_per_hour': hourly}
    if args.json is not None:
        content = {'device': str(device), 'iterations': training.ITERATIONS, 'variants': figures}
        write_text(args.json, json.dumps(content, indent=2) + '\n')
    return 0


def time_iteration(run: Callable[[Callable[[], None]], None], device: torch.device) -> float:
    """Return the seconds between two ticks of `run` after the warm-up."""
    stamps: list[float] = []

    def tick() -> None:
        if device.type == 'cuda' and len(stamps) == WARM_UP:  # only here, as in real use
            torch.cuda.synchronize(device)
        stamps.append(time.perf_counter())

    run(tick)  # ends with a copy to the CPU
    return (time.perf_counter() - stamps[WARM_UP]) / (len(stamps) - 1 - WARM_UP)


if __name__ == '__main__':
    run_script(main)
