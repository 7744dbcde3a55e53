"""LPIPS and DISTS, distances of images that agree better with human judgment than PSNR and SSIM.

torchmetrics has the networks and their learned weights. The weights of the features come from torchvision or a file.
"""

from collections.abc import Mapping
from functools import cache
from importlib import import_module
from types import ModuleType, SimpleNamespace
from typing import Any, Literal
from unittest.mock import patch

import numpy as np
import torch
from basicsr.metrics.metric_util import reorder_image
from basicsr.utils.registry import METRIC_REGISTRY
from torch import Tensor, nn

from usrdu_basicsr.utils.errors import InputError
from usrdu_basicsr.utils.pretrained_features import load_features

FEATURES = {'alex': 'alexnet', 'vgg': 'vgg16'}  # torchvision's names
MIN_SIZE = {'alex': 31, 'vgg': 16}  # pixels, for one value of the last features


@METRIC_REGISTRY.register()
def calculate_lpips(
    img: np.ndarray,
    img2: np.ndarray,
    crop_border: int = 0,
    input_order: Literal['HWC', 'CHW'] = 'HWC',
    net: Literal['alex', 'vgg'] = 'alex',
    weights: str = 'imagenet',
    device: torch.device | str = 'cpu',
    **_: Any,
) -> float:
    """LPIPS 0.1, the distance of image features that are weighted by human judgments (Zhang et al., 2018).

    Args:
        img: BGR image `(H, W, 3)` or gray image `(H, W)` or `(H, W, 1)`, [0, 255].
        img2: Image to compare with, same shape and range.
        crop_border: Number of border pixels to ignore on each side.
        input_order: Order of the dimensions of the images.
        net: Network of the features, AlexNet or VGG16.
        weights: Weights of the features: `imagenet` (torchvision's, downloaded once), the path of a torchvision state
            dict, or `random`.
        device: Device that computes the distance.

    Returns:
        Distance, 0 for identical images; lower is better.

    Raises:
        InputError: If the shapes differ, the images are too small, or the network cannot be loaded.
        InputNotFoundError: If the weights file does not exist.
    """
    images = _to_tensors(img, img2, crop_border, input_order)
    if min(images.shape[-2:]) < MIN_SIZE[net]:
        height, width = images.shape[-2:]
        raise InputError(
            f'calculate_lpips: got images of {height}x{width} pixels inside crop_border, expected at least'
            f' {MIN_SIZE[net]}x{MIN_SIZE[net]} for net: {net}. Use larger images or another metric'
        )
    with torch.no_grad():
        return _lpips(net, weights).to(device)(*images.to(device), normalize=True).item()


@METRIC_REGISTRY.register()
def calculate_dists(
    img: np.ndarray,
    img2: np.ndarray,
    crop_border: int = 0,
    input_order: Literal['HWC', 'CHW'] = 'HWC',
    weights: str = 'imagenet',
    device: torch.device | str = 'cpu',
    **_: Any,
) -> float:
    """DISTS, the distance of the structure and texture of image features (Ding et al., 2020).

    Args:
        img: BGR image `(H, W, 3)` or gray image `(H, W)` or `(H, W, 1)`, [0, 255].
        img2: Image to compare with, same shape and range.
        crop_border: Number of border pixels to ignore on each side.
        input_order: Order of the dimensions of the images.
        weights: Weights of the features: `imagenet` (torchvision's, downloaded once), the path of a torchvision state
            dict, or `random`.
        device: Device that computes the distance.

    Returns:
        Distance, 0 for identical images up to rounding; lower is better.

    Raises:
        InputError: If the shapes differ, the images are too small, or the network cannot be loaded.
        InputNotFoundError: If the weights file does not exist.
    """
    images = _to_tensors(img, img2, crop_border, input_order)
    with torch.no_grad():
        return _dists(weights).to(device)(*images.to(device)).item()


def load_metric(settings: Mapping[str, Any]) -> None:
    """Load the network of a metric, if it has one, for all later calls of the metric in this process.

    Args:
        settings: Section of `val: metrics`.

    Raises:
        InputError: If torchmetrics is not installed, or the weights cannot be downloaded or do not fit.
        InputNotFoundError: If the weights file does not exist.
    """
    weights = settings.get('weights', 'imagenet')
    if settings['type'] == 'calculate_lpips':
        _lpips(settings.get('net', 'alex'), weights)
    elif settings['type'] == 'calculate_dists':
        _dists(weights)


@cache
def _lpips(net: str, weights: str) -> nn.Module:
    library, features = _torchmetrics('lpips'), load_features(FEATURES[net], weights)
    # Its networks can only be built with weights that torchvision downloads, so the features are passed this way.
    with patch.object(library, '_get_tv_model_features', lambda *_: features), torch.random.fork_rng(devices=[]):
        return library._LPIPS(net=net).eval()


@cache
def _dists(weights: str) -> nn.Module:
    library, features = _torchmetrics('dists'), load_features('vgg16', weights)
    vgg16 = SimpleNamespace(features=features)
    with patch.object(library, 'vgg16', lambda **_: vgg16), torch.random.fork_rng(devices=[]):
        return library.DISTSNetwork().eval()


def _torchmetrics(name: str) -> ModuleType:
    try:
        return import_module(f'torchmetrics.functional.image.{name}')
    except ImportError as error:
        raise InputError(
            f"type: calculate_{name} needs the package torchmetrics. Run pip install 'usrdu_basicsr[metrics]' ({error})"
        ) from error


def _to_tensors(img: np.ndarray, img2: np.ndarray, crop_border: int, input_order: str) -> Tensor:
    """Convert two images to a tensor `(2, 1, 3, H, W)`, RGB in [0, 1], without the border."""
    if img.shape != img2.shape:
        raise InputError(f'metric: got images of shapes {img.shape} and {img2.shape}, expected equal shapes')
    images = np.stack([reorder_image(each, input_order) for each in (img, img2)]).astype(np.float32)
    inside = slice(crop_border, -crop_border or None)
    tensor = torch.from_numpy(images[:, inside, inside, ::-1] / 255)
    return tensor.permute(0, 3, 1, 2).unsqueeze(1).expand(-1, -1, 3, -1, -1)
