"""Validation and testing over ranks: each rank processes its share of the images."""

from __future__ import annotations

import inspect
from os import path as osp
from pathlib import Path
from typing import Any

import numpy as np
import torch
from basicsr.metrics import calculate_metric
from basicsr.utils.registry import METRIC_REGISTRY
from torch.utils.data import default_collate
from tqdm import tqdm

from usrdu_basicsr.utils import dist
from usrdu_basicsr.utils.errors import InputError
from usrdu_basicsr.utils.images import write_png


def validate_dataset(model: Any, dataset: Any, current_iter: int | str, save_img: bool) -> dict[str, float]:
    """Validate a `USRDUBase` model on a dataset.

    Returns:
        Mean of each metric over all images, equal on all ranks and for any number of ranks. Metrics are omitted if they
        require an input that the dataset does not have, such as the ground truth.

    Raises:
        InputError: If the dataset is empty.
        SystemExit: If the training was asked to stop.
    """
    opt = model.opt
    name, rank, world_size = dataset.opt['name'], opt['rank'], opt['world_size']
    if not len(dataset):
        raise InputError(f"validation set '{name}' is empty: add images or remove it from datasets")
    results: dict[int, dict[str, float]] = {}
    no_pbar = rank != 0 or not opt['val'].get('pbar', False)
    for start in tqdm(range(0, len(dataset), world_size), unit='image', unit_scale=world_size, disable=no_pbar):
        model.stop_if_requested()
        if (index := start + rank) < len(dataset):
            data = default_collate([dataset[index]])
            stem = _image_stem(opt, data[model.path_key][0], name, current_iter) if save_img else None
            results[index] = validate_image(model, data, stem)
    gathered = {index: values for part in dist.all_gather(results) for index, values in part.items()}
    # Summed in the order of the dataset, so that the result is bitwise the same for any number of ranks
    ordered = [gathered[index] for index in sorted(gathered)]
    return {metric: sum(values[metric] for values in ordered) / len(ordered) for metric in ordered[0]}


@torch.no_grad()
def validate_image(model: Any, data: dict[str, Any], stem: str | None) -> dict[str, float]:
    """Test a model on a batch of one image.

    Args:
        model: `USRDUBase` model.
        data: Batch.
        stem: Path of the result images without suffix and extension; None to not write them.

    Returns:
        Metrics whose inputs are available.
    """
    model.feed_data(data)
    model.test()
    inputs, images = model.validation_images()
    if stem is not None:
        for suffix, image in images.items():
            write_png(Path(f'{stem}{suffix}.png'), image)
    metrics = (model.opt['val'].get('metrics') or {}).items()
    return {name: float(calculate_metric(inputs, opt)) for name, opt in metrics if _has_inputs(opt, inputs)}


def _has_inputs(metric_opt: dict[str, Any], inputs: dict[str, np.ndarray]) -> bool:
    """Whether all required arguments of a metric are available."""
    parameters = inspect.signature(METRIC_REGISTRY.get(metric_opt['type'])).parameters.values()
    required = {p.name for p in parameters if p.default is p.empty and p.kind is p.POSITIONAL_OR_KEYWORD}
    return required <= {*inputs, *metric_opt}


def _image_stem(opt: dict[str, Any], image_path: str, dataset_name: str, current_iter: int | str) -> str:
    """BasicSR's path of a result image: by image and iteration in training, by dataset and suffix in a test."""
    name, folder = osp.splitext(osp.basename(image_path))[0], opt['path']['visualization']
    if opt['is_train']:
        return osp.join(folder, name, f'{name}_{current_iter}')
    return osp.join(folder, dataset_name, f'{name}_{opt["val"].get("suffix") or opt["name"]}')
