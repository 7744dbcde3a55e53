"""Validate and test: each rank takes its share of the images, all get the metrics of all."""

from __future__ import annotations

import inspect
from abc import abstractmethod
from os import path as osp
from pathlib import Path
from typing import Any

import numpy as np
import torch
from basicsr.metrics import calculate_metric
from basicsr.utils.registry import METRIC_REGISTRY
from torch.utils.data import default_collate
from tqdm import tqdm

from usrdu_basicsr.models.checkpointed_base import CheckpointedModel
from usrdu_basicsr.utils import dist
from usrdu_basicsr.utils.errors import InputError
from usrdu_basicsr.utils.images import write_png


class ValidatedModel(CheckpointedModel):
    """BasicSR's validation of one process, for one or several; metrics do not depend on how many.

    A metric that needs what a set has not, its ground truth say, is left out there.
    """

    @abstractmethod
    def validation_images(self) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        """What the last call of `test` made.

        Returns:
            Arguments for metrics, `img` and where there is ground truth `img2`, both `(H, W, 3)` uint8, BGR, and others
            that metrics may take; and the images to write, by what is added to their names.
        """

    @abstractmethod
    def image_path(self, data: dict[str, Any]) -> str:
        """The path of the image that a batch of one holds, after which its results are named."""

    def validation(self, dataloader: Any, current_iter: int | str, tb_logger: Any, save_img: bool = False) -> None:
        """Measure `val: metrics:` on a set, log them, and write its images where that is asked for.

        Args:
            dataloader: BasicSR's, of which the dataset is used.
            current_iter: Iteration, or name of a test.
            tb_logger: TensorBoard's writer, on the first rank, or None.
            save_img: Write the images.

        Raises:
            InputError: The set is empty.
            SystemExit: The training has been asked to stop.
        """
        if self.is_train:  # when BasicSR has trained to the end, it counts on
            current_iter = min(int(current_iter), int(self.opt['train']['total_iter']))
        dataset, rank, world_size = dataloader.dataset, self.opt['rank'], self.opt['world_size']
        name = dataset.opt['name']
        if not len(dataset):
            raise InputError(f'validation set {name!r} holds no image: give it some, or leave it out')
        measured: dict[int, dict[str, float]] = {}
        silent = rank != 0 or not self.opt['val'].get('pbar', False)
        for start in tqdm(range(0, len(dataset), world_size), unit='image', unit_scale=world_size, disable=silent):
            self.stop_if_requested()
            index = start + rank
            if index < len(dataset):
                data = default_collate([dataset[index]])
                stem = self._image_stem(self.image_path(data), name, current_iter) if save_img else None
                measured[index] = self._validate(data, stem)
        everywhere = {index: values for part in dist.all_gather(measured) for index, values in part.items()}
        # in order, so that the sum is the same to the last bit
        values = [everywhere[index] for index in sorted(everywhere)]
        means = {metric: sum(each[metric] for each in values) / len(values) for metric in values[0]}
        if not means:
            return
        self.metric_results = means
        if isinstance(current_iter, int) and rank == 0:
            self.history.add(current_iter, name, means)
        self._note_best(current_iter, name, means)
        self._log_validation_metric_values(current_iter, name, tb_logger)

    @torch.no_grad()
    def _validate(self, data: dict[str, Any], stem: str | None) -> dict[str, float]:
        self.feed_data(data)
        self.test()
        images, written = self.validation_images()
        for suffix, image in written.items() if stem is not None else ():
            write_png(Path(f'{stem}{suffix}.png'), image)
        return {
            name: float(calculate_metric(images, settings))
            for name, settings in (self.opt['val'].get('metrics') or {}).items()
            if not _lacks(settings, images)
        }

    def _image_stem(self, image_path: str, dataset_name: str, current_iter: int | str) -> str:
        """Where BasicSR puts an image of validation (by name and iteration) or testing (by set and suffix)."""
        name = osp.splitext(osp.basename(image_path))[0]
        folder = self.opt['path']['visualization']
        if self.is_train:
            return osp.join(folder, name, f'{name}_{current_iter}')
        return osp.join(folder, dataset_name, f'{name}_{self.opt["val"].get("suffix") or self.opt["name"]}')


def _lacks(settings: dict[str, Any], images: dict[str, np.ndarray]) -> bool:
    """Whether a metric needs an argument that it would not get."""
    parameters = inspect.signature(METRIC_REGISTRY.get(settings['type'])).parameters.values()
    needed = {p.name for p in parameters if p.default is p.empty and p.kind is p.POSITIONAL_OR_KEYWORD}
    return not needed <= {*images, *settings}
