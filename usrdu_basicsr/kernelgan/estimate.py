"""Estimate the blur kernel of every photo of a folder."""

from __future__ import annotations

import logging
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from usrdu_basicsr.kernelgan.crops import LEAST_SIDE, SourceImages
from usrdu_basicsr.kernelgan.kernel_files import read_x2_kernel, remove_kernels, write_kernels
from usrdu_basicsr.kernelgan.kernel_report import (
    is_recorded,
    kernel_record,
    remove_record,
    write_record,
    write_summary,
)
from usrdu_basicsr.kernelgan.postprocess import consensus
from usrdu_basicsr.kernelgan.training import ITERATIONS, train_kernels
from usrdu_basicsr.utils.errors import InputError
from usrdu_basicsr.utils.files import output_folder
from usrdu_basicsr.utils.images import check_unique_stems, list_images, read_image

logger = logging.getLogger(__name__)

MAX_PIXELS = 32_000_000  # of a batch's photos together: about 100 bytes each, with all that is kept of them


@dataclass(frozen=True)
class EstimationSettings:
    """What an estimated kernel depends on, besides its photo, the photo's name and the device.

    Attributes:
        runs: KernelGANs trained for each photo; its kernel is what they agree on.
        iterations: Of each.
        seed: Of all random numbers.
    """

    runs: int = 3
    iterations: int = ITERATIONS
    seed: int = 0


@dataclass
class EstimationReport:
    """What became of the photos, by name."""

    written: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    too_small: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)


class KernelEstimation:
    """Writes `output/x2/NAME.npy` and `.mat`, for scale 4 also `output/x4/`, and a report of all kernels there.

    Photos whose kernels are there already, estimated with the same settings, are skipped, so a second run finishes an
    interrupted one. A file that cannot be read is logged, and the others go on. A photo's kernel depends on the photo,
    its name and the settings, not on what else is estimated.

    Args:
        photos: Folder of real LR photos.
        output: Folder of the kernels.
        settings: See there.
        scale: 2, or 4 for the x4 kernels as well, which are made from those.
        share: This process's rank, and how many there are: each takes its share of the photos.

    Raises:
        InputNotFoundError: The folder does not exist.
        InputError: It is empty, or two of its files would share a name; the output is a file or the photos' folder.
    """

    def __init__(
        self,
        photos: str | Path,
        output: str | Path,
        settings: EstimationSettings,
        scale: int = 4,
        share: tuple[int, int] = (0, 1),
    ) -> None:
        self.settings = settings
        self.output = output_folder(output)
        paths = list_images(photos)
        if self.output.resolve() == Path(photos).resolve():
            raise InputError(f"output '{output}' is the folder of the photos: name another")
        check_unique_stems(paths)
        self.paths = paths[share[0] :: share[1]]
        self.scale = scale
        self.report = EstimationReport()

    def run(self, device: torch.device, batch: int, show_progress: bool = True) -> EstimationReport:
        """Estimate.

        Args:
            device: Where KernelGAN trains.
            batch: Photos that train at once; a photo's kernel does not depend on it.
            show_progress: Show a bar with the photos left and the time that they will take.

        Returns:
            Which photos were written, skipped, too small and failed.
        """
        todo = []
        for path in self.paths:
            if self._is_done(path):
                self.report.skipped.append(path.name)
            else:
                todo.append(path)
        with tqdm(
            total=len(self.paths),
            initial=len(self.report.skipped),
            disable=not show_progress,
            bar_format='{percentage:3.0f}%|{bar}| {desc} [{elapsed} gone, {remaining} to go]',
        ) as bar:
            for photos in self._batches(todo, batch, bar):
                self._estimate(photos, device, bar)
                self._show_left(bar)
        write_summary(self.output)
        return self.report

    def _show_left(self, bar: tqdm) -> None:
        done = sum(map(len, vars(self.report).values()))
        bar.set_description_str(f'{len(self.paths) - done} of {len(self.paths)} photos left')

    def _batches(self, paths: Sequence[Path], batch: int, bar: tqdm) -> Iterator[list[tuple[Path, np.ndarray]]]:
        """The photos, read: as many at once as asked for and as memory allows."""
        photos: list[tuple[Path, np.ndarray]] = []
        for path in paths:
            self._show_left(bar)
            image = self._read(path)
            if image is None:
                bar.update(1)
                continue
            pixels = sum(one.shape[0] * one.shape[1] for one in (image, *(photo for _, photo in photos)))
            if photos and (len(photos) == batch or pixels > MAX_PIXELS):
                yield photos
                photos = []
            photos.append((path, image))
        if photos:
            yield photos

    def _read(self, path: Path) -> np.ndarray | None:
        """`(H, W, 3)` RGB, or None if it cannot be used, which is noted."""
        try:
            image = read_image(path)[..., ::-1]
        except InputError as error:
            logger.error('%s', error)
            self.report.failed.append(path.name)
            return None
        if min(image.shape[:2]) < LEAST_SIDE:
            logger.warning("photo '%s' is skipped: KernelGAN needs %d pixels a side", path, LEAST_SIDE)
            self.report.too_small.append(path.name)
            return None
        return image

    def _is_done(self, path: Path) -> bool:
        """Whether the x2 kernel is there; the files that follow from it are made again where they do not fit."""
        if not is_recorded(self.output, path, vars(self.settings)):
            return False
        try:
            write_kernels(self.output, path.stem, read_x2_kernel(self.output, path.stem), self.scale)
        except InputError:
            return False
        return True

    def _estimate(self, photos: Sequence[tuple[Path, np.ndarray]], device: torch.device, bar: tqdm) -> None:
        runs, iterations = self.settings.runs, self.settings.iterations
        images = SourceImages([image for _, image in photos], device)
        which = [i for i in range(len(photos)) for _ in range(runs)]
        seeds = [_seed(self.settings.seed, path.stem, run) for path, _ in photos for run in range(runs)]

        def advance() -> None:
            # never past the end, whatever fractions add up to
            bar.update(min(len(photos) / iterations, len(self.paths) - bar.n))

        result = train_kernels(images, which, seeds, device, iterations, advance)
        for i, (path, _) in enumerate(photos):
            mine = slice(i * runs, (i + 1) * runs)
            losses = {name: values[mine] for name, values in result.losses.items()}
            self._write(path, result.kernels[mine], losses)

    def _write(self, path: Path, raw: np.ndarray, losses: dict[str, np.ndarray]) -> None:
        """Make one kernel of the runs of a photo, and write its files."""
        remove_record(self.output, path)  # of other settings or another photo, with its kernels
        remove_kernels(self.output, path.stem)
        try:
            kernel = consensus(raw)
        except ValueError as error:
            logger.error(
                "photo '%s' has no kernel: %s. Stage 1 does without it; or try more --iterations, or it alone with"
                ' another --seed',
                *(path, error),
            )
            self.report.failed.append(path.name)
            return
        write_kernels(self.output, path.stem, kernel, self.scale)
        write_record(self.output, path, kernel_record(raw, kernel, losses) | vars(self.settings))
        self.report.written.append(path.name)


def _seed(seed: int, name: str, run: int) -> int:
    """A seed of its own for each photo and run."""
    return int(np.random.SeedSequence((seed, zlib.crc32(name.encode()), run)).generate_state(1)[0])
