"""Validation and testing over ranks, and the history of all validations of a training."""

import inspect
import json
import math
from collections.abc import Iterable, Mapping, Set
from contextlib import suppress
from os import path as osp
from pathlib import Path
from typing import Any

import numpy as np
import torch
from basicsr.metrics import calculate_metric
from basicsr.utils import tensor2img
from basicsr.utils.registry import METRIC_REGISTRY
from torch.utils.data import default_collate
from tqdm import tqdm

from usrdu_basicsr.utils import dist
from usrdu_basicsr.utils.errors import InputError
from usrdu_basicsr.utils.files import write_text
from usrdu_basicsr.utils.images import centre_crop, heat_map, write_png

TENSORBOARD_SIDE = 512  # largest side of its images, pixels


def validate_dataset(
    model: Any, dataset: Any, current_iter: int | str, save_img: bool, tb_logger: Any = None
) -> dict[str, float]:
    """Validate a `USRDUBaseModel` on a dataset; each rank processes its share of the images.

    The images of the first item are added to `tb_logger`, the TensorBoard writer on rank 0.

    Returns:
        Mean of each metric over all images, equal on all ranks and for any number of ranks, and the metrics of the
        whole dataset, `dataset_metrics` of the model. Metrics are omitted if they require an input that the dataset
        does not have, such as the ground truth.

    Raises:
        InputError: If the dataset is empty.
    """
    opt = model.opt
    name, rank, world_size = dataset.opt['name'], opt['rank'], opt['world_size']
    if not len(dataset):
        raise InputError(f"validation set '{name}' is empty. Add images, or remove it from datasets")
    results: dict[int, tuple[dict[str, float], Any]] = {}
    no_pbar = rank != 0 or not opt['val'].get('pbar')
    for start in tqdm(range(0, len(dataset), world_size), unit='image', unit_scale=world_size, disable=no_pbar):
        model.stop_if_requested()
        if (index := start + rank) < len(dataset):
            data = default_collate([dataset[index]])
            stem = _image_stem(opt, data[model.path_key][0], name, current_iter) if save_img else None
            metrics, images = _validate_image(model, data, stem)
            results[index] = metrics, model.image_statistics(index)
            if index == 0 and tb_logger is not None:
                for kind, image in images.items():
                    image = centre_crop(image, TENSORBOARD_SIDE)  # so that TensorBoard's files stay small
                    image = image[..., None] if image.ndim == 2 else image[..., ::-1]
                    tb_logger.add_image(f'{name}/{kind}', image, current_iter, dataformats='HWC')
    gathered = {index: values for part in dist.all_gather(results) for index, values in part.items()}
    # Summed in the order of the dataset, so that the result is bitwise the same for any number of ranks
    ordered, statistics = zip(*(gathered[index] for index in sorted(gathered)), strict=True)
    means = {metric: sum(values[metric] for values in ordered) / len(ordered) for metric in ordered[0]}
    return means | model.dataset_metrics(statistics)


@torch.no_grad()
def _validate_image(
    model: Any, data: dict[str, Any], stem: str | None
) -> tuple[dict[str, float], dict[str, np.ndarray]]:
    """Test a batch of one image, write the results to `<stem>.png` and others, and compute the available metrics.

    Returns:
        Metrics, and 8-bit images `(H, W, 3)` BGR: `result`, and if available `gt`, `lq` and `uncertainty`.
    """
    model.feed_data(data)
    model.test()
    visuals = model.get_current_visuals()
    images = {key: tensor2img(visuals[key]) for key in ('result', 'gt', 'lq') if key in visuals}
    inputs: dict[str, Any] = {name: images[key] for name, key in (('img', 'result'), ('img2', 'gt')) if key in images}
    if 'log_scale' in visuals:
        log_scale = visuals['log_scale'].squeeze(0)
        inputs['log_scale'] = log_scale.permute(1, 2, 0).flip(2).numpy()  # BGR, as the images
        images['uncertainty'] = heat_map(log_scale.mean(0).numpy())
    if stem is not None:
        for key, suffix in (('result', ''), ('uncertainty', '_uncertainty')):
            if key in images:
                write_png(Path(f'{stem}{suffix}.png'), images[key])
    results: dict[str, float] = {}
    for name, opt in model.metric_options.items():
        parameters = inspect.signature(METRIC_REGISTRY.get(opt['type'])).parameters
        # Metrics that run a network have an argument `device`, which others may refuse
        given = inputs | ({'device': model.device} if 'device' in parameters else {})
        if _has_inputs(parameters.values(), {*given, *opt}):
            results[name] = float(calculate_metric(given, opt))
    return results, images


def _has_inputs(parameters: Iterable[inspect.Parameter], available: Set[str]) -> bool:
    """Whether all required arguments of a metric are available."""
    required = {p.name for p in parameters if p.default is p.empty and p.kind is p.POSITIONAL_OR_KEYWORD}
    return required <= available


def _image_stem(opt: dict[str, Any], image_path: str, dataset_name: str, current_iter: int | str) -> str:
    """BasicSR's path of a result image: by image and iteration in training, by dataset and suffix in a test.

    Unlike BasicSR's, the path has the name of the dataset in training, too, if there are several validation sets.
    """
    name, folder = osp.splitext(osp.basename(image_path))[0], opt['path']['visualization']
    if opt['is_train']:
        parts = (dataset_name,) if len(opt.get('datasets', {}).keys() - {'train'}) > 1 else ()
        return osp.join(folder, *parts, name, f'{name}_{current_iter}')
    return osp.join(folder, dataset_name, f'{name}_{opt["val"].get("suffix") or opt["name"]}')


class ValidationHistory:
    """`validation.jsonl` of an experiment: one line per validation, with `iter`, `dataset` and `metrics`.

    A WriteError is raised if it cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.records: list[dict[str, Any]] = []

    def read(self) -> None:
        """Read the validations of the file; invalid lines are omitted."""
        self.records = []
        for line in self.path.read_text().splitlines() if self.path.is_file() else []:
            with suppress(ValueError, TypeError, AttributeError):
                record = json.loads(line)
                if isinstance(record.get('iter'), int) and record.keys() >= {'dataset', 'metrics'}:
                    self.records.append(record)

    def resume_from(self, iteration: int) -> None:
        """Read the validations up to an iteration and remove later ones, which the resumed run repeats."""
        self.read()
        self.records = [record for record in self.records if record['iter'] <= iteration]
        self._write()

    def add(self, iteration: int, dataset: str, metrics: Mapping[str, float]) -> None:
        """Add a validation; an existing record of the same iteration and dataset is replaced."""
        self.records = [r for r in self.records if (r['iter'], r['dataset']) != (iteration, dataset)]
        self.records.append({'iter': iteration, 'dataset': dataset, 'metrics': dict(metrics)})
        self._write()

    def values(self, metric: str) -> dict[int, float]:
        """Metric by iteration, on the first dataset that has it; empty if none has."""
        records = [record for record in self.records if metric in record['metrics']]
        return {r['iter']: r['metrics'][metric] for r in records if r['dataset'] == records[0]['dataset']}

    def best(self, iterations: Iterable[int], metrics: Mapping[str, Mapping[str, Any]]) -> int | None:
        """Select the best iteration by the first metric; None if it was not measured in any.

        The first dataset on which the metric was measured is used.

        Args:
            iterations: Iterations to select from. The later of two equal ones is selected, as in BasicSR.
            metrics: Option `val: metrics`.
        """
        metric, settings = next(iter(metrics.items()), ('', {}))
        sign = -1 if settings.get('better') == 'lower' else 1
        values = self.values(metric)
        measured = [(sign * values[i], i) for i in iterations if not math.isnan(values.get(i, math.nan))]
        return max(measured)[1] if measured else None

    def _write(self) -> None:
        write_text(self.path, ''.join(f'{json.dumps(record)}\n' for record in self.records))
