"""Measure the errors of `usrdu camera` and of its samples on simulated cameras with known blur and noise, and its time.

The camera's images show other scenes than the HR images.
"""

import argparse
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from usrdu_basicsr import register
from usrdu_basicsr.cli.command_line import positive, run_script

# Standard deviations of the blur along both axes in HR pixels at scale 4, and noise level
BLURS = [(1.6, 1.6, 2), (2.5, 2.5, 0), (3.5, 3.5, 0), (3.5, 1.8, 5), (4.0, 2.0, 10), (3.5, 1.8, 15), (3.5, 1.8, 25)]
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
    from usrdu_basicsr.degradation.simulated_camera import CAMERAS, SimulatedCamera, gaussian_kernel, made_camera

    print('| blur, HR pixels | noise | kernel error | of bicubic | measured noise | error | seconds |')
    print('|---|---|---|---|---|---|---|')
    for wide, narrow, noise in BLURS:
        wide, narrow = wide * args.scale / 4, narrow * args.scale / 4
        take = SimulatedCamera(args.scale, gaussian_kernel(wide, narrow, ANGLE, args.scale), noise)
        with taken(take, args.scenes, args.count) as folder:
            errors, level, seconds = measure(take, folder, args)[:3]
        expected = float(np.hypot(noise, 12**-0.5))  # with that of rounding
        print(
            f'| {wide:g} × {narrow:g} | {noise} | {errors[0]:.3f} | {errors[1]:.3f} | {level:.2f}'
            f' | {level / expected - 1:+.1%} | {seconds:.1f} |'
        )
    print('\n| camera | kernel error | of bicubic | noise of the camera | level error | autocorrelation error |')
    print('|---|---|---|---|---|---|')
    for name in CAMERAS:
        take = made_camera(name, args.scale)
        with taken(take, args.scenes, args.count) as folder:
            errors, level, _, camera = measure(take, folder, args)
            of_level, of_correlation = calibrate(camera, args)
        print(f'| `{name}` | {errors[0]:.3f} | {errors[1]:.3f} | {level:.1f} | {of_level:.1%} | {of_correlation:.3f} |')
    return 0


@contextmanager
def taken(take: Any, scenes: Path, count: int) -> Iterator[str]:
    """Temporary folder of a camera's images."""
    from usrdu_basicsr.utils.images import list_images, read_image, write_png

    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        for path in list_images(scenes)[:count]:
            image = read_image(path)
            height, width = (side // take.scale * take.scale for side in image.shape[:2])
            write_png(Path(folder, f'{path.stem}.png'), take(image[:height, :width], rng))
        yield folder


def measure(take: Any, folder: str, args: argparse.Namespace) -> tuple[tuple[float, float], float, float, Any]:
    """Kernel errors of the measurement and of bicubic, measured noise, seconds, and the measurement."""
    from usrdu_basicsr.degradation.blur_kernel import LR_TAPS, hr_kernel
    from usrdu_basicsr.degradation.camera import measure_camera
    from usrdu_basicsr.kernelgan.postprocess import kernel_error

    start = time.perf_counter()
    camera = measure_camera(folder, args.hr, args.scale, args.count)
    seconds = time.perf_counter() - start
    bicubic, true = hr_kernel(np.pad([[1.0]], LR_TAPS // 2), args.scale), take.true_kernel()
    side = max(len(true), len(camera.kernel))
    true, measured, bicubic = (np.pad(each, (side - len(each)) // 2) for each in (true, camera.kernel, bicubic))
    level = float(np.mean([camera.numbers[f'noise_{channel}'].value for channel in ('red', 'green', 'blue')]))
    return (kernel_error(measured, true), kernel_error(bicubic, true)), level, seconds, camera


def calibrate(camera: Any, args: argparse.Namespace) -> tuple[float, float]:
    """Errors of samples of the measured camera: level of a channel (of 1 gray level if weaker), and autocorrelation."""
    from usrdu_basicsr.inference.measured_dsn import measured_dsn

    _, calibration = measured_dsn(camera, args.hr, args.count)
    real, samples = calibration.camera, calibration.after
    return real.level_error(samples), real.correlation_error(samples)


if __name__ == '__main__':
    run_script(main)
