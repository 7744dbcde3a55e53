"""Measure the error of `usrdu camera` on simulated cameras with known blur and noise, and its time.

The camera's images show other scenes than the HR images.
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np

from usrdu_basicsr import register
from usrdu_basicsr.cli.command_line import positive, run_script

# Standard deviations of the blur along both axes in HR pixels at scale 4, and noise level
CAMERAS = [(1.6, 1.6, 2), (2.5, 2.5, 0), (3.5, 3.5, 0), (3.5, 1.8, 5), (4.0, 2.0, 10), (3.5, 1.8, 15), (3.5, 1.8, 25)]
ANGLE = 0.6


def main() -> int:
    """Print a row per camera."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--hr', type=Path, required=True, help='folder of HR images')
    parser.add_argument('--scenes', type=Path, required=True, help='folder of other HR images, for the cameras')
    parser.add_argument('--scale', type=int, choices=(2, 4), default=4, help='scale (default: %(default)s)')
    parser.add_argument('--count', type=positive, default=200, help='images of each folder (default: %(default)s)')
    args = parser.parse_args()

    register()
    from usrdu_basicsr.degradation.blur_kernel import LR_TAPS, hr_kernel
    from usrdu_basicsr.degradation.camera import measure_camera
    from usrdu_basicsr.degradation.simulated_camera import SimulatedCamera, gaussian_kernel
    from usrdu_basicsr.kernelgan.postprocess import kernel_error
    from usrdu_basicsr.utils.images import list_images, read_image, write_png

    bicubic = hr_kernel(np.pad([[1.0]], LR_TAPS // 2), args.scale)
    print('| blur, HR pixels | noise | kernel error | of bicubic | measured noise | error | seconds |')
    print('|---|---|---|---|---|---|---|')
    for wide, narrow, noise in CAMERAS:
        wide, narrow = wide * args.scale / 4, narrow * args.scale / 4
        kernel = gaussian_kernel(wide, narrow, ANGLE, args.scale)
        take, rng = SimulatedCamera(args.scale, kernel, noise), np.random.default_rng(0)
        with tempfile.TemporaryDirectory() as folder:
            for path in list_images(args.scenes)[: args.count]:
                image = read_image(path)
                height, width = (side // args.scale * args.scale for side in image.shape[:2])
                write_png(Path(folder, f'{path.stem}.png'), take(image[:height, :width], rng))
            start = time.perf_counter()
            camera = measure_camera(folder, args.hr, args.scale, args.count)
            seconds = time.perf_counter() - start
        levels = [camera.numbers[f'noise_{channel}'].value for channel in ('red', 'green', 'blue')]
        level, expected = float(np.mean(levels)), float(np.hypot(noise, 12**-0.5))  # with that of rounding
        errors = kernel_error(camera.kernel, kernel), kernel_error(bicubic, kernel)
        print(
            f'| {wide:g} × {narrow:g} | {noise} | {errors[0]:.3f} | {errors[1]:.3f} | {level:.2f}'
            f' | {level / expected - 1:+.1%} | {seconds:.1f} |'
        )
    return 0


if __name__ == '__main__':
    run_script(main)
