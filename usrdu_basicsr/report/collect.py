"""Gather the results of a run for its report."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import yaml
from basicsr.metrics import calculate_psnr, calculate_ssim

from usrdu_basicsr.archs.spandrel_arch import published_network
from usrdu_basicsr.degradation.fidelity import Fidelity
from usrdu_basicsr.inference.audit import audit
from usrdu_basicsr.metrics.perceptual_metrics import MIN_SIZE, calculate_lpips, load_metric
from usrdu_basicsr.ops.bootstrap import LEAST_IMAGES, paired_interval
from usrdu_basicsr.report import run_folder as names
from usrdu_basicsr.utils.checkpoint import read_weights
from usrdu_basicsr.utils.errors import InputError, not_found
from usrdu_basicsr.utils.files import file_sha256
from usrdu_basicsr.utils.images import image_size, list_images, read_image, to_8bit
from usrdu_basicsr.utils.pretrained_features import cached_weights_path

AUDITED = 100  # images
METRICS = {'PSNR, dB': calculate_psnr, 'SSIM': calculate_ssim}
LPIPS = 'LPIPS (lower is better)'
ARCHITECTURES = {'IdentitySRVGGNetCompact': 'compact', 'RRDBNet': 'esrgan', 'SwinIR': 'swinir'}  # of OpenModelDB


@dataclass(frozen=True)
class Comparison:
    """Metric of the network and of bicubic upscaling, which is the input for scale 1, on the validation images.

    Attributes:
        network: Mean of the network.
        bicubic: Mean of bicubic upscaling.
        low: Lower end of the 95 % interval of the mean difference, by the bootstrap over images.
        high: Its upper end.
        images: Number of images, at least `LEAST_IMAGES` for a meaningful interval.
    """

    network: float
    bicubic: float
    low: float
    high: float
    images: int

    @property
    def gain(self) -> float:
        """Mean difference."""
        return self.network - self.bicubic

    @property
    def has_interval(self) -> bool:
        """Whether there are enough images for an interval."""
        return self.images >= LEAST_IMAGES

    def texts(self, digits: int) -> tuple[str, str, str]:
        """Mean of bicubic upscaling, of the network, and the difference with its interval."""
        interval = f'{self.low:+.{digits}f} to {self.high:+.{digits}f}' if self.has_interval else 'no interval'
        return (f'{self.bicubic:.{digits}f}', f'{self.network:.{digits}f}', f'{self.gain:+.{digits}f} ({interval})')


@dataclass(frozen=True)
class RunResults:
    """What a report shows.

    Attributes:
        folder: Folder of the run.
        settings: Arguments of `usrdu fit`.
        options: Options of stage 2.
        seconds: Time of each step.
        notes: Sentences on the images.
        metrics: Comparison by the name of the metric.
        has_pairs: Whether the user gave validation pairs.
        fidelity: Comparison of generated and real LR images.
        camera_warnings: Sentences of `usrdu camera`.
        architecture: Architecture of the network as OpenModelDB names it, or '' if it has no name there.
        iterations: Iterations of stage 2.
        losses: Pixel loss by iteration.
        validations: PSNR by iteration.
        pictures: `baseline` and result of each held-back image, `(H, W, 3)` uint8, BGR.
        model_sha256: Hash of `model.pth`.
    """

    folder: Path
    settings: dict[str, Any]
    options: dict[str, Any]
    seconds: dict[str, float]
    notes: list[str]
    metrics: dict[str, Comparison]
    has_pairs: bool
    fidelity: Fidelity
    camera_warnings: list[str]
    architecture: str
    iterations: int
    losses: dict[int, float]
    validations: dict[int, float]
    pictures: dict[str, tuple[np.ndarray, np.ndarray]]
    model_sha256: str

    @property
    def baseline(self) -> str:
        """What the network is compared with: the input, upscaled if the scale is not 1."""
        return 'the input' if self.settings['scale'] == 1 else 'bicubic upscaling'

    def metric_rows(self) -> list[tuple[str, ...]]:
        """Table of the metrics, with its header."""
        header = ('metric', self.baseline, 'network', 'gain (95 % interval)')
        return [header, *((name, *values.texts(2 if 'dB' in name else 4)) for name, values in self.metrics.items())]


def collect(folder: Path) -> RunResults:
    """Gather the results of a run, whose images have been upscaled.

    Raises:
        InputNotFoundError: If the folder is no run, or lacks a result.
        InputError: If a file is corrupt.
    """
    state = names.read_state(folder)
    for name in (names.MODEL, names.UPSCALED_VALIDATION, names.GENERATED):
        if not (folder / name).exists():
            raise not_found(f"'{folder / name}': the run is not finished. Run usrdu fit again; it")
    losses = _losses(folder / names.experiment(names.SRN))
    validations = names.read_validations(folder, names.SRN).values('psnr')
    held_back = list_images(folder / names.HELD_BACK)
    scale = state['settings']['scale']
    options = yaml.safe_load((folder / names.options_file(names.SRN)).read_text(encoding='utf-8'))
    return RunResults(
        folder=folder,
        settings=state['settings'],
        options=options,
        seconds=state['seconds'],
        notes=state['notes'],
        metrics=_metrics(folder, scale),
        has_pairs=state['settings']['val_hr'] is not None,
        fidelity=audit(folder / names.LR, folder / names.GENERATED, folder / names.HR, AUDITED),
        camera_warnings=json.loads((folder / names.CAMERA / 'camera.json').read_text(encoding='utf-8'))['warnings'],
        architecture=_architecture(options['network_g']['type'], folder / names.MODEL),
        iterations=max([*validations, *losses], default=0),
        losses=losses,
        validations=validations,
        pictures={path.stem: _pair(path, folder / names.UPSCALED_HELD_BACK, scale) for path in held_back},
        model_sha256=file_sha256(folder / names.MODEL),
    )


def _architecture(network: str, model: Path) -> str:
    if network != 'SpandrelArch':
        return ARCHITECTURES.get(network, '')
    properties: Any = published_network(read_weights(model, 'params_ema', ()), model).sr_properties
    return properties.architecture.lower()


def _metric_functions(smallest_side: int) -> dict[str, Callable[..., float]]:
    """Metrics of images of this size. LPIPS is one of them where its weights are: a report downloads nothing."""
    if smallest_side < MIN_SIZE['alex'] or not cached_weights_path('alexnet').is_file():
        return METRICS
    try:
        load_metric({'type': 'calculate_lpips'})
    except InputError:  # torchmetrics is not installed, or the weights are corrupt
        return METRICS
    return METRICS | {LPIPS: calculate_lpips}


def _metrics(folder: Path, scale: int) -> dict[str, Comparison]:
    paths = list_images(folder / names.VALIDATION_HR)
    metrics = _metric_functions(min(min(image_size(path)) for path in paths) - 2 * scale)
    values: dict[str, list[tuple[float, float]]] = {name: [] for name in metrics}
    for path in paths:
        hr = to_8bit(read_image(path))
        bicubic, result = _pair(folder / names.VALIDATION_LR / path.name, folder / names.UPSCALED_VALIDATION, scale)
        for name, metric in metrics.items():
            values[name].append(tuple(float(metric(each, hr, crop_border=scale)) for each in (result, bicubic)))  # type: ignore[arg-type]
    comparisons = {}
    for name, pairs in values.items():
        network, bicubic_values = np.array(pairs).T
        _, low, high = paired_interval(network[None], bicubic_values[None])
        comparisons[name] = Comparison(float(network.mean()), float(bicubic_values.mean()), low, high, len(pairs))
    return comparisons


def _pair(path: Path, upscaled: Path, scale: int) -> tuple[np.ndarray, np.ndarray]:
    """Bicubic upscaling of an LR image, and the result of the network."""
    lr = read_image(path)
    size = (scale * lr.shape[1], scale * lr.shape[0])
    return to_8bit(cv2.resize(lr, size, interpolation=cv2.INTER_CUBIC)), to_8bit(read_image(upscaled / path.name))


def _losses(experiment: Path) -> dict[int, float]:
    """Pixel loss by iteration from the logs, of which a resumed training has several."""
    losses = {}
    for log in sorted(experiment.glob('train_*.log')):
        for line in map(names.read_log_line, log.read_text(encoding='utf-8', errors='replace').splitlines()):
            if line is not None and line[1]:
                losses[line[0]] = float(line[1])
    return dict(sorted(losses.items()))
