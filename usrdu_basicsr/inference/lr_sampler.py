"""Sample LR images of an HR image from the distribution that a DSN predicts."""

from copy import deepcopy
from pathlib import Path

import numpy as np
import torch
from basicsr.utils import img2tensor
from torch import Tensor

from usrdu_basicsr.archs.camera_noise import sample_lr
from usrdu_basicsr.inference.load_network import DSN, load_dsn
from usrdu_basicsr.inference.pixels import check_image, tensor_to_image
from usrdu_basicsr.inference.tiles import downsample_in_tiles
from usrdu_basicsr.utils.device import pick_device
from usrdu_basicsr.utils.errors import InputError
from usrdu_basicsr.utils.images import to_8bit, to_float
from usrdu_basicsr.utils.precision import Precision

TILE = 512  # HR pixels


class LRSampler:
    """Sampler of LR images with the degradation of the camera that a DSN was trained on.

    Args:
        dsn: Network on its device. It is modified for the precision.
        precision: Numeric precision of the network; None for float32.

    Attributes:
        scale: Downsampling factor of the network.
    """

    def __init__(self, dsn: DSN, precision: Precision | None = None) -> None:
        self.device = next(iter(dsn.state_dict().values())).device
        self.precision = precision or Precision('fp32', self.device)
        self.precision.prepare(dsn)
        self.dsn = dsn.to(memory_format=torch.channels_last)  # faster on a CPU too
        self.noise = deepcopy(dsn.camera_noise).cpu() if dsn.camera_noise is not None else None
        self.scale = dsn.scale

    def __call__(self, image: np.ndarray, count: int = 1, seed: int | None = None) -> np.ndarray:
        """Sample LR images of one HR image.

        Args:
            image: `(H, W, 3)` BGR; uint8, uint16, or floating point in [0, 1]. It is cropped at the right and at the
                bottom to a multiple of the scale.
            count: Number of LR images.
            seed: Random seed, with the same result on every device; None for different images in each call.

        Returns:
            `(count, H / s, W / s, 3)` uint8 BGR.

        Raises:
            InputError: If the image has another shape or data type or is smaller than the scale, or `count` is below 1.
        """
        check_image(image)
        if image.ndim != 3 or image.shape[2] != 3 or min(image.shape[:2]) < self.scale:
            expected = f'(H, W, 3) of at least {self.scale} pixels a side'
            raise InputError(f'image: got shape {image.shape}, expected {expected}')
        if count < 1:
            raise InputError(f'count: got {count}, expected at least 1')
        mean, log_scale = self.distribution(to_float(image))
        generator = torch.Generator()
        generator.manual_seed(generator.seed() if seed is None else seed)
        samples = [sample_lr(mean, log_scale, self.noise, generator) for _ in range(count)]
        return np.stack([to_8bit(tensor_to_image(lr)) for lr in samples])

    def predict(self, image: np.ndarray, tile: int = TILE) -> tuple[np.ndarray, np.ndarray]:
        """Predict the LR distribution of one HR image.

        Args:
            image: `(H, W, 3)` float32, BGR, [0, 1], at least as large as the scale. It is cropped as in `__call__`.
            tile: Side of a tile in HR pixels without its margin.

        Returns:
            Mean and log-scale, `(H / s, W / s, 3)` float32, RGB.

        Raises:
            InputError: If a value is non-finite or a log-scale is too large for a file.
        """
        mean, log_scale = (x[0].permute(1, 2, 0).numpy() for x in self.distribution(image, tile))
        return mean, log_scale

    def distribution(self, image: np.ndarray, tile: int = TILE) -> tuple[Tensor, Tensor]:
        """`predict` with tensors `(1, 3, H / s, W / s)` on the CPU, as `sample_lr` takes them."""
        height, width = (side // self.scale * self.scale for side in image.shape[:2])

        def run(x: Tensor) -> tuple[Tensor, ...]:
            x = x.to(self.device, memory_format=torch.channels_last)
            return self.precision.run(self.dsn, x, with_features=False)[:2]

        with torch.inference_mode():
            x = img2tensor(image[:height, :width])[None]
            mean, log_scale = downsample_in_tiles(x, run, self.scale, self.dsn.receptive_radius, tile)
        if not mean.isfinite().all() or not log_scale.half().isfinite().all():
            raise InputError('the DSN predicts non-finite values. Use an earlier checkpoint, or a higher precision')
        return mean, log_scale


def load_sampler(path: str | Path, device: str | None = None, precision: str = 'fp32') -> LRSampler:
    """Load an `LRSampler` from a checkpoint.

    Args:
        path: `net_g_*.pth` of stage 1, or a published DSN or SR file.
        device: `cpu`, `cuda`, `cuda:1`, ...; None for the GPU if there is one.
        precision: `fp32`, `tf32`, `bf16` or `fp16`, see `usrdu_basicsr.utils.precision`.

    Raises:
        InputNotFoundError: If the file does not exist.
        InputError: If the file is corrupt or not a DSN, or the device does not support the precision.
    """
    torch_device = pick_device(device)
    return LRSampler(load_dsn(path, torch_device), Precision(precision, torch_device))
