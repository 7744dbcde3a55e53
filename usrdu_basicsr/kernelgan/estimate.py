"""Kernel estimation for every image of a folder."""

import logging
import os
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from usrdu_basicsr.kernelgan.crops import MIN_SIDE, SourceImages
from usrdu_basicsr.kernelgan.kernel_files import (
    kernel_record,
    recorded_values,
    remove_results,
    restore_results,
    write_results,
    write_summary,
)
from usrdu_basicsr.kernelgan.postprocess import consensus
from usrdu_basicsr.kernelgan.training import ITERATIONS, train_kernels
from usrdu_basicsr.utils.errors import InputError
from usrdu_basicsr.utils.file_report import FileReport
from usrdu_basicsr.utils.files import output_folder
from usrdu_basicsr.utils.images import check_unique_stems, list_images, read_image
from usrdu_basicsr.utils.result_records import file_identity
from usrdu_basicsr.utils.seed import derive_seed

logger = logging.getLogger(__name__)

MAX_PIXELS = 32_000_000  # of all images of a batch, at about 100 bytes of memory per pixel


@dataclass(frozen=True)
class EstimationSettings:
    """Settings that determine a kernel, together with the image, its name and the device.

    Attributes:
        runs: KernelGANs trained for each image; the kernel is their consensus.
        iterations: Iterations of each run.
        seed: Seed of all random numbers, >= 0.
    """

    runs: int = 3
    iterations: int = ITERATIONS
    seed: int = 0


@dataclass
class EstimationReport(FileReport):
    """Image names by outcome; images that are too small are not counted as failed."""

    too_small: list[str] = field(default_factory=list)

    def summary(self) -> str:
        """Number of images by outcome, in one line."""
        done = f'{len(self.written)} written, {len(self.skipped)} skipped (already exist)'
        return f'{done}, {len(self.too_small)} too small, {len(self.failed)} failed'


def estimate_kernels(
    images: str | Path,
    output: str | Path,
    settings: EstimationSettings,
    device: torch.device,
    batch: int,
    scale: int = 4,
    share: tuple[int, int] = (0, 1),
) -> EstimationReport:
    """Write `output/x2/NAME.npy` and `.mat`, for scale 4 also `output/x4/`, and a report of all kernels.

    Images whose kernels already exist with the same settings are skipped, so a second run resumes an interrupted one.
    Unreadable files are logged and do not stop the run. The kernel of an image depends on the image, its name and the
    settings only, not on the other images.

    Args:
        images: Folder of real LR images.
        output: Folder of the kernels.
        settings: Settings that determine the kernels.
        device: Device of the training.
        batch: Number of images that are trained at once; kernels do not depend on it.
        scale: 2, or 4 to compute x4 kernels from the x2 kernels as well.
        share: Rank and world size; each process handles its share of the images.

    Raises:
        InputNotFoundError: If the input folder does not exist.
        InputError: If the input folder is empty, two of its files have the same stem, or the output is a file or the
            input folder, or has kernels of other settings.
        WriteError: If a file cannot be written.
    """
    output, paths = output_folder(output, images), list_images(images)
    check_unique_stems(paths)
    paths = paths[share[0] :: share[1]]
    determined_by = {path: file_identity(path) | vars(settings) for path in paths}
    done = {path for path in paths if restore_results(output, path, determined_by[path], scale)}
    todo = [path for path in paths if path not in done]
    for path in todo:
        _check_settings(output, path, vars(settings))
    for path in todo:
        remove_results(output, path)  # of a previous image with this name
    report = EstimationReport(skipped=[path.name for path in paths if path in done])
    with tqdm(
        total=len(paths),
        initial=len(done),
        disable=share[0] != 0,
        bar_format='{percentage:3.0f}%|{bar}| {n:.1f} of {total} images [{elapsed} elapsed, {remaining} remaining]',
    ) as bar:
        for loaded in _read_batches(todo, batch, report, bar):
            for path, raw, losses in _train(loaded, settings, device, bar):
                try:
                    kernel = consensus(raw)
                except ValueError as error:
                    logger.error(
                        "No kernel for image '%s': %s. Stage 1 can train without it. To get a kernel, estimate this"
                        ' image alone, into another folder, with more --iterations or another --seed',
                        *(path, error),
                    )
                    report.failed.append(path.name)
                    continue
                record = kernel_record(raw, kernel, losses) | determined_by[path]
                write_results(output, path, kernel, record, scale)
                report.written.append(path.name)
    write_summary(output)
    return report


def _check_settings(output: Path, path: Path, settings: Mapping[str, Any]) -> None:
    """Refuse to replace a kernel of other settings, which may have taken hours."""
    for name, recorded in recorded_values(output, path, settings).items():
        if recorded != settings[name]:
            raise InputError(
                f"output '{output}': the kernel of '{path.name}' has {name} {recorded}, expected {settings[name]}."
                ' Choose another folder'
            )


def _read_batches(
    paths: Sequence[Path], batch: int, report: EstimationReport, bar: tqdm
) -> Iterator[dict[Path, np.ndarray]]:
    """Read the images in batches of at most `batch` images and `MAX_PIXELS`. Unusable images are reported."""
    images: dict[Path, np.ndarray] = {}
    for path in paths:
        image = _read(path, report)
        if image is None:
            bar.update(1)
            continue
        pixels = sum(one.shape[0] * one.shape[1] for one in (image, *images.values()))
        if images and (len(images) == batch or pixels > MAX_PIXELS):
            yield images
            images = {}
        images[path] = image
    if images:
        yield images


def _read(path: Path, report: EstimationReport) -> np.ndarray | None:
    """Read an image `(H, W, 3)`, RGB. If it is unreadable or too small, log and report it and return None."""
    try:
        image = read_image(path)[..., ::-1]
    except InputError as error:
        logger.error('%s', error)
        report.failed.append(path.name)
        return None
    height, width = image.shape[:2]
    if min(height, width) < MIN_SIDE:
        logger.warning("Skipped image '%s': got %dx%d pixels, expected sides >= %d", path, height, width, MIN_SIDE)
        report.too_small.append(path.name)
        return None
    return image


def _train(
    images: Mapping[Path, np.ndarray], settings: EstimationSettings, device: torch.device, bar: tqdm
) -> Iterator[tuple[Path, np.ndarray, dict[str, np.ndarray]]]:
    """Train all runs of a batch. Yields each image with the kernels `(runs, 13, 13)` and losses of its runs."""
    runs, iterations = settings.runs, settings.iterations
    indices = [i for i in range(len(images)) for _ in range(runs)]
    hashes = [zlib.crc32(os.fsencode(path.stem)) for path in images]
    seeds = [derive_seed(settings.seed, name_hash, run) for name_hash in hashes for run in range(runs)]

    def progress() -> None:
        bar.update(min(len(images) / iterations, bar.total - bar.n))  # rounding must not exceed the total

    sources = SourceImages(list(images.values()), device)
    kernels, losses = train_kernels(sources, indices, seeds, device, iterations, progress)
    for i, path in enumerate(images):
        part = slice(i * runs, (i + 1) * runs)
        yield path, kernels[part], {name: values[part] for name, values in losses.items()}
