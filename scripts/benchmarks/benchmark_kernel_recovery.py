"""Measure the error of KernelGAN on known kernels: images blurred with anisotropic Gaussians and downsampled x2."""

import argparse
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from usrdu_basicsr import register
from usrdu_basicsr.cli.command_line import add_device, positive, run_script
from usrdu_basicsr.degradation.blur_kernel import hr_kernel
from usrdu_basicsr.degradation.simulated_camera import gaussian_kernel

SIZE = 17  # side of the known kernels
ONE_RUN, MEDIAN = 'one run', 'median of the runs'
VARIANCES = (0.6, 5.0)  # range along both axes, as in DIV2KRK (Bell-Kligler et al., 2019)
ROUND = 2.8**0.5  # of the mean variance: the best guess without an image


def main() -> int:
    """Print the errors of fixed kernels, of single runs, and of combinations of several runs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('-i', '--input', nargs='*', default=[], help="folders of images to add to scikit-image's")
    parser.add_argument('--count', type=positive, default=16, help='images per folder (default: %(default)s)')
    parser.add_argument('--seeds', type=positive, default=2, help='estimates per image (default: %(default)s)')
    parser.add_argument('--runs', type=positive, default=3, help='runs per estimate (default: %(default)s)')
    parser.add_argument('--iterations', type=positive, default=3000, help='iterations per run (default: %(default)s)')
    parser.add_argument('--batch', type=positive, default=4, help='images trained at once (default: %(default)s)')
    add_device(parser)
    parser.add_argument('-o', '--output', help='folder for errors.json and the contact sheet kernels.png')
    args = parser.parse_args()

    register()
    from usrdu_basicsr.kernelgan.crops import SourceImages
    from usrdu_basicsr.kernelgan.kernel_files import contact_sheet
    from usrdu_basicsr.kernelgan.postprocess import has_collapsed, kernel_error
    from usrdu_basicsr.kernelgan.training import train_kernels
    from usrdu_basicsr.utils.device import pick_device
    from usrdu_basicsr.utils.files import write_text
    from usrdu_basicsr.utils.images import write_png

    device = pick_device(args.device)
    names, images, truths = [], [], []
    for name, image in test_images(args.input, args.count):
        truths.append(random_kernel(np.random.default_rng(len(truths))))
        images.append(degrade(image, truths[-1]))
        names.append(name)

    fixed = {
        'delta': [delta()],
        'bicubic': [hr_kernel(np.ones((1, 1)), 2)],
        'round Gaussian': [gaussian_kernel(ROUND, ROUND, 0, 2)],
    }
    each = args.seeds * args.runs
    errors: dict[str, list[list[float]]] = {}
    centres: dict[str, list[list[float]]] = {}
    shown: dict[str, np.ndarray] = {}
    ends: list[np.ndarray] = []
    for start in tqdm(range(0, len(images), args.batch), unit='batch'):
        part = range(start, min(start + args.batch, len(images)))
        which = [i - start for i in part for _ in range(each)]
        seeds = [i * each + run for i in part for run in range(each)]  # distinct seeds, as for distinct images
        sources = SourceImages([images[i] for i in part], device)
        raw, losses = train_kernels(sources, which, seeds, device, args.iterations)
        ends += list(raw)
        shape = (len(part), args.seeds, args.runs)
        raw, gan = raw.reshape(*shape, 13, 13), losses['gan'].reshape(shape)
        for i, estimates, gan_losses in zip(part, raw, gan, strict=True):
            estimated = fixed | kernels_by_variant(estimates, gan_losses)
            shown |= {names[i]: truths[i]} | {f'{names[i]} {seed}': one for seed, one in enumerate(estimated[MEDIAN])}
            for variant, kernels in estimated.items():
                errors.setdefault(variant, []).append([kernel_error(kernel, truths[i]) for kernel in kernels])
                if variant in (ONE_RUN, 'delta', 'bicubic'):
                    # the error before post-processing, which centres the kernel
                    before = estimates.reshape(-1, 13, 13) if variant == ONE_RUN else kernels
                    centres.setdefault(variant, []).append([centre_error(kernel) for kernel in before])
    if args.output:
        sums = np.sum(ends, (1, 2)).reshape(len(names), -1).tolist()
        content = {'images': names, 'errors': errors, 'centres': centres, 'sums': sums}
        write_text(Path(args.output, 'errors.json'), json.dumps(content, indent=1))
        write_png(Path(args.output, 'kernels.png'), contact_sheet(shown, columns=4 * (args.seeds + 1)))

    collapsed = f'{sum(has_collapsed(kernel) for kernel in ends)} of {len(ends)} runs collapsed'
    print(f'{len(names)} images, {args.seeds} seeds of {args.runs} runs of {args.iterations} iterations, {collapsed}')
    print(f'{"":20}{"kernel error":>14}{"between seeds":>16}{"worst":>8}{"off centre":>14}')
    for variant, values in errors.items():
        table = np.array(values)
        # from the unbiased variance, since there are more single runs than medians
        apart = np.sqrt(np.nanmean(table.var(axis=1, ddof=1))) if table.shape[1] > 1 else 0
        off = f'{np.nanmedian(centres[variant]):11.3f} px' if variant in centres else ''
        print(f'{variant:20}{np.nanmean(table):14.3f}{apart:16.3f}{np.nanmax(table):8.3f}{off}')
    return 0


def kernels_by_variant(raw: np.ndarray, gan_losses: np.ndarray) -> dict[str, list[np.ndarray]]:
    """Combine the runs `(seeds, runs, 13, 13)` on one image in several variants."""
    from usrdu_basicsr.kernelgan.postprocess import consensus, post_process

    runs = [[or_nan(post_process, kernel) for kernel in estimate] for estimate in raw]
    return {
        ONE_RUN: [kernel for estimate in runs for kernel in estimate],
        'least GAN loss': [estimate[i] for estimate, i in zip(runs, gan_losses.argmin(1), strict=True)],
        MEDIAN: [or_nan(consensus, estimate) for estimate in raw],
    }


def or_nan(function: Callable[[np.ndarray], np.ndarray], raw: np.ndarray) -> np.ndarray:
    """Apply `function`, or return a kernel of NaN where it raises ValueError."""
    try:
        return function(raw)
    except ValueError:
        return np.full((13, 13), np.nan)


def test_images(folders: Sequence[str], count: int) -> Iterator[tuple[str, np.ndarray]]:
    """Yield names and images `(H, W, 3)` float32, RGB, [0, 1]: scikit-image's, then the first ones of each folder."""
    from skimage import data

    from usrdu_basicsr.utils.images import list_images, read_image

    for name in ('astronaut', 'chelsea', 'coffee', 'rocket'):
        yield name, getattr(data, name)().astype(np.float32) / 255
    for folder in folders:
        for path in list_images(folder)[:count]:
            yield path.name, read_image(path)[..., ::-1]


def random_kernel(rng: np.random.Generator) -> np.ndarray:
    """Return a Gaussian kernel of random orientation and widths."""
    angle = rng.uniform(0, np.pi)
    first, second = np.sqrt(rng.uniform(*VARIANCES, 2))
    return gaussian_kernel(first, second, np.pi / 2 - angle, 2)


def degrade(image: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """Downsample an image x2 with a kernel and round to 8 bits."""
    from usrdu_basicsr.ops.kernels import kernel_downsample
    from usrdu_basicsr.utils.images import to_8bit

    height, width = (side // 2 * 2 for side in image.shape[:2])
    x = torch.from_numpy(image[:height, :width].transpose(2, 0, 1)[None].astype(np.float64))
    downsampled = kernel_downsample(x, torch.from_numpy(kernel)[None], 2)[0].permute(1, 2, 0).numpy()
    return to_8bit(downsampled).astype(np.float32) / 255


def delta() -> np.ndarray:
    """Return the kernel that takes every second pixel, without blur."""
    kernel = np.zeros((SIZE, SIZE))
    kernel[SIZE // 2, SIZE // 2] = 1
    return kernel


def centre_error(kernel: np.ndarray) -> float:
    """Return the distance of the centre of mass from the middle of the 2x2 pixels of an LR pixel, in HR pixels."""
    from usrdu_basicsr.ops.kernels import centre_of_mass

    centre = centre_of_mass(torch.from_numpy(kernel.astype(np.float64))[None])[0].numpy()
    return float(np.linalg.norm(centre - (len(kernel) // 2 + 0.5)))


if __name__ == '__main__':
    run_script(main)
