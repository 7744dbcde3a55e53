"""Draw LR images of an HR image from what a DSN learned of a camera."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from usrdu_basicsr.archs.dsn_arch import UncertaintyDSN
from usrdu_basicsr.inference.generate_lr import predict, prepare_for_inference
from usrdu_basicsr.inference.load_network import load_dsn
from usrdu_basicsr.inference.pixels import check_image
from usrdu_basicsr.ops.sampling import sample_laplace
from usrdu_basicsr.utils.device import pick_device
from usrdu_basicsr.utils.errors import InputError
from usrdu_basicsr.utils.images import to_8bit, to_float
from usrdu_basicsr.utils.precision import Precision


class LRSampler:
    """Makes of good photos what the camera would have made of them, anew at each call.

    Args:
        dsn: The network, on its device; it is changed for the precision.
        precision: That it computes in; float32 if None.

    Attributes:
        scale: How much smaller the LR images are.
    """

    def __init__(self, dsn: UncertaintyDSN, precision: Precision | None = None) -> None:
        self.precision = precision or Precision('fp32', next(dsn.parameters()).device)
        self.dsn = prepare_for_inference(dsn, self.precision)
        self.scale = dsn.scale

    def __call__(self, image: np.ndarray, count: int = 1, seed: int | None = None) -> np.ndarray:
        """Draw LR images of one HR image.

        Args:
            image: `(H, W, 3)` BGR, as OpenCV has it; uint8, uint16, or floating point in [0, 1]. Cropped at the right
                and the bottom to a multiple of the scale.
            count: How many.
            seed: The same seed draws the same images, on any device; None for others at each call.

        Returns:
            `(count, H / s, W / s, 3)` uint8 BGR.

        Raises:
            InputError: The image is of another shape or type, or smaller than the scale; `count` is below 1.
        """
        check_image(image)
        if image.ndim != 3 or image.shape[2] != 3 or min(image.shape[:2]) < self.scale:
            raise InputError(
                f'image: got shape {image.shape}, expected (H, W, 3) of at least {self.scale} pixels a side'
            )
        if count < 1:
            raise InputError(f'count: got {count}, expected at least 1')
        mean, log_scale = map(torch.from_numpy, predict(self.dsn, to_float(image), precision=self.precision))
        generator = torch.Generator()
        if seed is None:
            generator.seed()
        else:
            generator.manual_seed(seed)
        drawn = [sample_laplace(mean, log_scale, generator).numpy() for _ in range(count)]
        return np.stack([to_8bit(lr[..., ::-1]) for lr in drawn])


def load_sampler(path: str | Path, device: str | None = None, precision: str = 'fp32') -> LRSampler:
    """An `LRSampler` from a checkpoint: stage 1's `net_g_*.pth`, or a published DSN or SR file.

    Args:
        path: The file.
        device: `cpu`, `cuda`, `cuda:1`, ...; the GPU if there is one by default.
        precision: `fp32`, `tf32`, `bf16` or `fp16`, see `usrdu_basicsr.utils.precision`.

    Raises:
        InputNotFoundError: There is no such file.
        InputError: It is damaged or holds no DSN; the device cannot compute in the precision.
    """
    where = pick_device(device)
    return LRSampler(load_dsn(path, where), Precision(precision, where))
