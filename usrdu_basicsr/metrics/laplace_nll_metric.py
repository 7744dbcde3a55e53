"""Negative log-likelihood of real LR images under the predicted distribution."""

from typing import Any

import numpy as np
import torch
from basicsr.utils.registry import METRIC_REGISTRY

from usrdu_basicsr.ops.laplace import laplace_nll


@METRIC_REGISTRY.register()
def calculate_laplace_nll(
    img: np.ndarray, img2: np.ndarray, log_scale: np.ndarray, crop_border: int = 0, **_: Any
) -> float:
    """Mean negative log-likelihood per value of a real LR image under Laplace(mean, exp(log_scale)).

    Args:
        img: Predicted mean, `(H, W, C)`, [0, 255].
        img2: Real LR image, same shape and range.
        log_scale: Natural logarithm of the scale in 8-bit units, same shape and channel order.
        crop_border: Number of border pixels to ignore on each side.

    Returns:
        Negative log-likelihood in nats; lower is better.

    Raises:
        ValueError: If the shapes differ.
    """
    if not img.shape == img2.shape == log_scale.shape:
        raise ValueError(f'shapes differ: mean {img.shape}, real {img2.shape}, log_scale {log_scale.shape}')
    inside = slice(crop_border, -crop_border or None)
    distance = np.abs(img.astype(np.float64) - img2)[inside, inside]
    scales = log_scale.astype(np.float64)[inside, inside]
    return laplace_nll(torch.from_numpy(distance), torch.from_numpy(scales)).mean().item()
