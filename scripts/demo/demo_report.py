"""Report the demo's results: tables, a comparison image, and whether the two targets are met."""

import argparse
import json
from pathlib import Path

import cv2
import numpy as np
import torch

from usrdu_basicsr import register
from usrdu_basicsr.cli.command_line import run_script

SCALE = 4
CROP = 192  # HR pixels of a crop in the comparison image
MIN_GAIN = 0.5  # dB PSNR over the network trained on bicubic LR
MAX_NOISE_ERROR = 0.1  # relative to the noise level of the real LR


def main() -> int:
    """Run the script; exit status 1 if a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--data', type=Path, default=Path('datasets/demo/validation'), help='HR and camera images')
    parser.add_argument('--dsn', default='demo_output/camera/net_g_camera.pth')
    parser.add_argument('--upscaled', type=Path, default=Path('demo_output/upscaled'), help='results of stage 2')
    parser.add_argument(
        '--baseline',
        type=Path,
        default=Path('demo_output/upscaled_bicubic'),
        help='results of the baseline, trained on bicubic LR',
    )
    parser.add_argument('-o', '--output', type=Path, default=Path('demo_output'))
    args = parser.parse_args()

    register()
    from basicsr.metrics import calculate_psnr, calculate_ssim
    from basicsr.utils import img2tensor

    from usrdu_basicsr.archs.camera_noise import sample_lr
    from usrdu_basicsr.inference.lr_sampler import load_sampler
    from usrdu_basicsr.inference.pixels import tensor_to_image
    from usrdu_basicsr.ops.linear_fit import apply_filter, fit_filter
    from usrdu_basicsr.ops.patches import round_to_8bit
    from usrdu_basicsr.ops.resize import bicubic_downsample
    from usrdu_basicsr.utils.files import write_text
    from usrdu_basicsr.utils.images import list_images, read_image, to_8bit, write_png

    def noise(images: list[torch.Tensor], references: list[torch.Tensor]) -> float:
        """Standard deviation of 8-bit images from their best linear prediction from bicubic ones, gray levels."""
        images = [255 * round_to_8bit(x) for x in images]
        taps = fit_filter(zip(references, images, strict=True))
        errors = [x - apply_filter(y, taps) for x, y in zip(images, references, strict=True)]
        return float(torch.cat([error.flatten() for error in errors]).std())

    sampler = load_sampler(args.dsn, 'cpu')
    generator = torch.Generator().manual_seed(0)
    quality: dict[str, list[tuple[float, float]]] = {}
    lrs: dict[str, list[torch.Tensor]] = {}
    rows = []
    for path in list_images(args.data / 'HR'):
        hr, real = read_image(path), read_image(args.data / 'camera' / path.name)
        height, width = hr.shape[:2]
        results = {
            'bicubic upscaling': to_8bit(cv2.resize(real, (width, height), interpolation=cv2.INTER_CUBIC)),
            'SR trained on bicubic LR': cv2.imread(str(args.baseline / path.name)),
            'SR trained on sampled LR': cv2.imread(str(args.upscaled / path.name)),
        }
        for name, image in results.items():
            values = (f(image, to_8bit(hr), crop_border=SCALE) for f in (calculate_psnr, calculate_ssim))
            quality.setdefault(name, []).append(tuple(values))
        mean, log_scale = sampler.distribution(hr)
        for name, lr in {
            'real LR': img2tensor(real)[None],
            'bicubic LR': bicubic_downsample(img2tensor(hr)[None], SCALE),
            'generated LR: mean': mean,
            'generated LR: sampled': sample_lr(mean, log_scale, sampler.noise, generator),
        }.items():
            lrs.setdefault(name, []).append(lr)
        sampled = to_8bit(tensor_to_image(lrs['generated LR: sampled'][-1]))
        images = [to_8bit(hr), enlarge(to_8bit(real)), *results.values(), enlarge(sampled)]
        top, left = height // 3 - CROP // 2, width // 2 - CROP // 2
        rows.append(np.hstack([image[top : top + CROP, left : left + CROP] for image in images]))
    write_png(args.output / 'comparison.png', np.vstack([caption(), *rows]))

    psnr = {name: np.mean([p for p, _ in values]) for name, values in quality.items()}
    level = {name: noise(images, lrs['bicubic LR']) for name, images in lrs.items() if name != 'bicubic LR'}
    print(f'\n{"validation images":<28}{"PSNR, dB":>10}{"SSIM":>10}')
    for name, values in quality.items():
        print(f'{name:<28}{psnr[name]:>10.2f}{np.mean([s for _, s in values]):>10.4f}')
    print(f'\n{"noise, gray levels":<28}')
    for name, value in level.items():
        print(f'{name:<28}{value:>10.2f}')
    gain = psnr['SR trained on sampled LR'] - psnr['SR trained on bicubic LR']
    error = level['generated LR: sampled'] / level['real LR'] - 1
    targets = {
        f'PSNR gain over training on bicubic LR: {gain:+.2f} dB, target {MIN_GAIN:+.1f} dB': gain >= MIN_GAIN,
        f'noise level of sampled LR: {error:+.0%} of the real one, target within {MAX_NOISE_ERROR:.0%}': abs(error)
        <= MAX_NOISE_ERROR,
    }
    for target, is_met in targets.items():
        print(f'\n{"met" if is_met else "MISSED"}: {target}', end='')
    print(f'\n\nSee {args.output / "comparison.png"}')
    figures = {
        'psnr': {name: float(value) for name, value in psnr.items()},
        'ssim': {name: float(np.mean([s for _, s in values])) for name, values in quality.items()},
        'noise_level': {name: float(value) for name, value in level.items()},
        'gain': float(gain),
        'noise_error': float(error),
    }
    write_text(args.output / 'figures.json', json.dumps(figures, indent=2) + '\n')
    return 0 if all(targets.values()) else 1


def enlarge(lr: np.ndarray) -> np.ndarray:
    """Repeat every pixel `SCALE` times along both axes."""
    return cv2.resize(lr, None, fx=SCALE, fy=SCALE, interpolation=cv2.INTER_NEAREST)


def caption() -> np.ndarray:
    """Draw the first row of the comparison image: the names of the columns."""
    row = np.full((20, 6 * CROP, 3), 255, np.uint8)
    names = ('HR', 'camera LR', 'bicubic', 'SR, bicubic LR', 'SR, sampled LR', 'sampled LR')
    for i, name in enumerate(names):
        cv2.putText(row, name, (i * CROP + 6, 14), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (0, 0, 0), 1, cv2.LINE_AA)
    return row


if __name__ == '__main__':
    run_script(main)
