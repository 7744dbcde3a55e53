"""Evaluate an SR network on a paired validation set, and the LR images that it was trained on against the camera's."""

import argparse
import json
from pathlib import Path

import cv2
import numpy as np

from usrdu_basicsr import register
from usrdu_basicsr.cli.command_line import run_script


def main() -> int:
    """Write the results as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--model_path', required=True)
    parser.add_argument('--HR', type=Path, required=True, help='validation')
    parser.add_argument('--camera', type=Path, required=True, help='validation')
    parser.add_argument('--lr', type=Path, required=True, help='camera images')
    parser.add_argument('--generated', type=Path, required=True, help='generated set or LR images')
    parser.add_argument('--hr', type=Path, help='HR images of the generated set')
    parser.add_argument('--lpips', required=True, help='weights of AlexNet')
    parser.add_argument('-o', '--output', type=Path, required=True)
    args = parser.parse_args()

    register()
    from basicsr.metrics import calculate_psnr, calculate_ssim

    from usrdu_basicsr.inference.audit import audit
    from usrdu_basicsr.inference.upscaler import load_upscaler
    from usrdu_basicsr.metrics.perceptual_metrics import calculate_lpips
    from usrdu_basicsr.utils.files import write_text
    from usrdu_basicsr.utils.images import list_images, read_image, to_8bit, write_png

    def metrics(image: np.ndarray, gt: np.ndarray) -> dict[str, float]:
        return {
            'psnr': float(calculate_psnr(image, gt, crop_border=4)),
            'ssim': float(calculate_ssim(image, gt, crop_border=4)),
            'lpips': calculate_lpips(image, gt, crop_border=4, weights=args.lpips),
        }

    upscale = load_upscaler(args.model_path, 'cpu')
    images = {}
    for path in list_images(args.HR):
        gt, lr = (to_8bit(read_image(folder / path.name)) for folder in (args.HR, args.camera))
        result = upscale(lr)
        write_png(args.output.with_name('upscaled') / path.name, result)
        bicubic = cv2.resize(lr, gt.shape[1::-1], interpolation=cv2.INTER_CUBIC)
        images[path.stem] = metrics(result, gt) | {f'bicubic_{k}': v for k, v in metrics(bicubic, gt).items()}
    fidelity = audit(args.lr, args.generated, args.hr, 100)
    numbers = fidelity.numbers()
    write_text(args.output, json.dumps({'images': images, 'fidelity': numbers, 'findings': list(fidelity.findings())}))
    return 0


if __name__ == '__main__':
    run_script(main)
