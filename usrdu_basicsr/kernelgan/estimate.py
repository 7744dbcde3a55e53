"""Kernel estimation for every image of a folder."""

from __future__ import annotations

import logging
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from usrdu_basicsr.kernelgan.crops import MIN_SIDE, SourceImages
from usrdu_basicsr.kernelgan.kernel_files import (
    is_recorded,
    kernel_record,
    read_x2_kernel,
    remove_results,
    write_kernels,
    write_record,
    write_summary,
)
from usrdu_basicsr.kernelgan.postprocess import consensus
from usrdu_basicsr.kernelgan.training import ITERATIONS, train_kernels
from usrdu_basicsr.utils.errors import InputError
from usrdu_basicsr.utils.file_report import FileReport
from usrdu_basicsr.utils.files import output_folder
from usrdu_basicsr.utils.images import check_unique_stems, list_images, read_image
from usrdu_basicsr.utils.seed import derive_seed

logger = logging.getLogger(__name__)

MAX_PIXELS = 32_000_000  # of all images of a batch, at about 100 bytes of memory per pixel

LoadedImage = tuple[Path, np.ndarray]


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


class KernelEstimation:
    """Writes `output/x2/NAME.npy` and `.mat`, for scale 4 also `output/x4/`, and a report of all kernels.

    Images whose kernels already exist with the same settings are skipped, so a second run resumes an interrupted one.
    Unreadable files are logged and do not stop the run. The kernel of an image depends on the image, its name and the
    settings only, not on the other images.

    Args:
        images: Folder of real LR images.
        output: Folder of the kernels.
        settings: Settings that determine the kernels.
        scale: 2, or 4 to compute x4 kernels from the x2 kernels as well.
        share: Rank and world size; each process handles its share of the images.

    Raises:
        InputNotFoundError: If the input folder does not exist.
        InputError: If the input folder is empty, two of its files have the same stem, or the output is a file or the
            input folder.
    """

    def __init__(
        self,
        images: str | Path,
        output: str | Path,
        settings: EstimationSettings,
        scale: int = 4,
        share: tuple[int, int] = (0, 1),
    ) -> None:
        self.settings = settings
        self.output = output_folder(output)
        paths = list_images(images)
        if self.output.resolve() == Path(images).resolve():
            raise InputError(f"output '{output}' is the input folder. Choose another folder")
        check_unique_stems(paths)
        self.paths = paths[share[0] :: share[1]]
        self.scale = scale
        self.report = EstimationReport()

    def run(self, device: torch.device, batch: int, show_progress: bool = True) -> EstimationReport:
        """Estimate the kernels and return the image names by outcome.

        Args:
            device: Device of the training.
            batch: Number of images that are trained at once; kernels do not depend on it.
            show_progress: Show a progress bar.
        """
        done = {path for path in self.paths if self._is_done(path)}
        self.report.skipped = [path.name for path in self.paths if path in done]
        with tqdm(
            total=len(self.paths),
            initial=len(done),
            disable=not show_progress,
            bar_format='{percentage:3.0f}%|{bar}| {n:.1f} of {total} images [{elapsed} elapsed, {remaining} remaining]',
        ) as bar:
            for images in self._batches([path for path in self.paths if path not in done], batch, bar):
                self._estimate(images, device, bar)
        write_summary(self.output)
        return self.report

    def _batches(self, paths: Sequence[Path], batch: int, bar: tqdm) -> Iterator[list[LoadedImage]]:
        """Read the images in batches of at most `batch` images and `MAX_PIXELS`."""
        images: list[LoadedImage] = []
        for path in paths:
            image = self._read(path)
            if image is None:
                bar.update(1)
                continue
            pixels = sum(one.shape[0] * one.shape[1] for one in (image, *(loaded for _, loaded in images)))
            if images and (len(images) == batch or pixels > MAX_PIXELS):
                yield images
                images = []
            images.append((path, image))
        if images:
            yield images

    def _read(self, path: Path) -> np.ndarray | None:
        """Read an image `(H, W, 3)`, RGB. If it is unreadable or too small, log and report it and return None."""
        try:
            image = read_image(path)[..., ::-1]
        except InputError as error:
            logger.error('%s', error)
            self.report.failed.append(path.name)
            return None
        height, width = image.shape[:2]
        if min(height, width) < MIN_SIDE:
            logger.warning("Skipped image '%s': got %dx%d pixels, expected sides >= %d", path, height, width, MIN_SIDE)
            self.report.too_small.append(path.name)
            return None
        return image

    def _is_done(self, path: Path) -> bool:
        """Whether the x2 kernel exists. Derived files that are missing or do not match it are rewritten."""
        if not is_recorded(self.output, path, vars(self.settings)):
            return False
        try:
            write_kernels(self.output, path.stem, read_x2_kernel(self.output, path.stem), self.scale)
        except InputError:
            return False
        return True

    def _estimate(self, images: Sequence[LoadedImage], device: torch.device, bar: tqdm) -> None:
        runs, iterations = self.settings.runs, self.settings.iterations
        sources = SourceImages([image for _, image in images], device)
        indices = [i for i in range(len(images)) for _ in range(runs)]
        hashes = [zlib.crc32(path.stem.encode()) for path, _ in images]
        seeds = [derive_seed(self.settings.seed, name_hash, run) for name_hash in hashes for run in range(runs)]

        def progress() -> None:
            bar.update(min(len(images) / iterations, len(self.paths) - bar.n))  # rounding must not exceed the total

        result = train_kernels(sources, indices, seeds, device, iterations, progress)
        for i, (path, _) in enumerate(images):
            part = slice(i * runs, (i + 1) * runs)
            self._write(path, result.kernels[part], {name: values[part] for name, values in result.losses.items()})

    def _write(self, path: Path, raw: np.ndarray, losses: dict[str, np.ndarray]) -> None:
        """Write the consensus of the runs on an image."""
        remove_results(self.output, path)  # of other settings or of a previous image with this name
        try:
            kernel = consensus(raw)
        except ValueError as error:
            logger.error(
                "No kernel for image '%s': %s. Stage 1 can train without it. To get a kernel, raise --iterations or"
                ' estimate this image alone with another --seed',
                *(path, error),
            )
            self.report.failed.append(path.name)
            return
        write_kernels(self.output, path.stem, kernel, self.scale)
        write_record(self.output, path, kernel_record(raw, kernel, losses) | vars(self.settings))
        self.report.written.append(path.name)
