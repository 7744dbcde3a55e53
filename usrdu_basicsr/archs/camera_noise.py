"""Noise and JPEG compression of a camera: what a calibrated DSN adds to its mean."""

from collections.abc import Mapping
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from usrdu_basicsr.ops.laplace import sample_laplace

KNOTS = 8  # brightness levels of the log-scale: centres of equal bins from 0 to 255
TAPS = 7  # of the noise filter
QUALITIES = 101  # JPEG qualities 1 to 100; 0 for no compression
JPEG_BLOCK = 16  # pixels that 4:2:0 compression processes together


class CameraNoise(nn.Module):
    """Calibration of the samples of a DSN to a camera. A new one changes nothing.

    The log-scale becomes `weight * log_scale + offset(brightness)`. The noise is correlated by a filter and a mix of
    its colours, and the sample is compressed with a random one of the camera's JPEG qualities.

    Buffers, which are saved with the DSN:
        weight: Scalar: 1 keeps the log-scale that the DSN predicts, 0 replaces it.
        offset: `(3, KNOTS)` RGB, added to the log-scale by the brightness of the mean.
        taps: `(TAPS, TAPS)`, filter of the noise in correlation order; its squares sum to 1.
        mix: `(3, 3)`, RGB noise as a combination of independent noises; the squares of each row sum to 1.
        jpeg: `(QUALITIES,)`, probability of each quality.
    """

    weight: Tensor
    offset: Tensor
    taps: Tensor
    mix: Tensor
    jpeg: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer('weight', torch.ones(()))
        self.register_buffer('offset', torch.zeros(3, KNOTS))
        self.register_buffer('taps', F.pad(torch.ones(1, 1), (TAPS // 2,) * 4))
        self.register_buffer('mix', torch.eye(3))
        self.register_buffer('jpeg', F.one_hot(torch.tensor(0), QUALITIES).float())
        self.register_load_state_dict_post_hook(lambda module, _: module.prepare())
        self.prepare()

    def prepare(self) -> None:
        """Derive what sampling needs from the buffers. To be called after changing one."""
        used = self.taps.nonzero() - TAPS // 2
        self.radius = int(used.abs().max())  # of the filter without zeros at its borders
        self.compresses = bool(self.jpeg[1:].any())

    def log_scale(self, mean: Tensor, log_scale: Tensor) -> Tensor:
        """Calibrated log-scale.

        Args:
            mean: `(N, 3, H, W)`, RGB, unit range.
            log_scale: Predicted log-scale, same shape.
        """
        position = (255 * mean.mean(1) * KNOTS / 256 - 0.5 + KNOTS / 512).clamp(0, KNOTS - 1)  # (N, H, W)
        index = position.floor().clamp(max=KNOTS - 2)
        lower, upper = (self.offset[:, index.long() + step].transpose(0, 1) for step in (0, 1))
        return self.weight * log_scale + torch.lerp(lower, upper, (position - index)[:, None])

    def sample(self, mean: Tensor, log_scale: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Sample LR images; arguments and result are those of `sample_laplace`, with a calibrated log-scale."""
        margin = TAPS // 2 - self.radius
        taps = self.taps[margin : TAPS - margin, margin : TAPS - margin]
        lr = sample_laplace(mean, log_scale, generator, taps, self.mix)
        return self._compress(lr, generator) if self.compresses else lr

    def _compress(self, lr: Tensor, generator: torch.Generator | None) -> Tensor:
        height, width = lr.shape[2:]
        quality = torch.multinomial(self.jpeg, len(lr), replacement=True, generator=generator)
        jpeg, factors = _jpeg(lr.device)
        padding = (0, -width % JPEG_BLOCK, 0, -height % JPEG_BLOCK)
        # BasicSR's table of luma is the transposed one of libjpeg
        x = F.pad(lr.clamp(0, 1), padding, mode='replicate').mT
        factor = factors[quality]
        compressed = jpeg.decompress(*jpeg.compress(x, factor=factor), *x.shape[2:], factor=factor).mT
        return torch.where(quality[:, None, None, None] > 0, compressed[..., :height, :width], lr)

    def description(self) -> dict[str, Any]:
        """Filter, mix and JPEG qualities as JSON values, for a generated set, whose log-scales are calibrated."""
        qualities = {str(quality): float(self.jpeg[quality]) for quality in self.jpeg.nonzero()[:, 0].tolist()}
        return {'taps': self.taps.tolist(), 'mix': self.mix.tolist(), 'jpeg': qualities}

    @classmethod
    def from_description(cls, description: Mapping[str, Any]) -> 'CameraNoise':
        """Create the sampler of a generated set; a KeyError, TypeError or ValueError if the description is invalid."""
        noise = cls()
        noise.taps.copy_(torch.tensor(description['taps']))
        noise.mix.copy_(torch.tensor(description['mix']))
        noise.jpeg.zero_()
        for quality, probability in description['jpeg'].items():
            noise.jpeg[int(quality)] = probability
        noise.prepare()
        return noise


def sample_lr(
    mean: Tensor, log_scale: Tensor, noise: CameraNoise | None, generator: torch.Generator | None = None
) -> Tensor:
    """Sample LR images of a DSN with or without calibration, the one way in which all parts sample.

    Args:
        mean: `(N, 3, H, W)`, RGB, unit range.
        log_scale: Log-scale of the DSN, same shape, calibrated if the DSN is.
        noise: Calibration of the DSN; None without.
        generator: Random generator on the device of `mean`; torch's default generator if None.

    Returns:
        Tensor of the same shape as `mean`. Without compression it is not clipped.
    """
    if noise is None:
        return sample_laplace(mean, log_scale, generator)
    return noise.sample(mean, log_scale, generator)


@cache
def _jpeg(device: torch.device) -> tuple[Any, Tensor]:
    """BasicSR's `DiffJPEG`, and the factor of its tables by quality, `(QUALITIES,)`; quality 0 is computed as 1."""
    from basicsr.utils.diffjpeg import DiffJPEG, quality_to_factor  # older copies of BasicSR lack it

    factors = [quality_to_factor(max(quality, 1)) for quality in range(QUALITIES)]
    return DiffJPEG(differentiable=False).to(device).requires_grad_(False), torch.tensor(factors, device=device)
