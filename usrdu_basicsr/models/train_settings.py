"""Options under `train:` that both models share: precision, compilation, gradient accumulation and clipping."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor

from usrdu_basicsr.utils.precision import PRECISIONS

# Modes of torch.compile; `compile: true` selects the first
COMPILE_MODES = ('default', 'reduce-overhead', 'max-autotune', 'max-autotune-no-cudagraphs')
CUDA_GRAPH_MODES = ('reduce-overhead', 'max-autotune')


@dataclass(frozen=True)
class TrainSettings:
    """Shared training options. The defaults compute in float32, as the published implementation does.

    Attributes:
        precision: Precision of the networks, see `usrdu_basicsr.utils.precision`. `fp32` disables the TF32 convolutions
            that PyTorch uses by default on Ampere and later GPUs; `tf32` enables them.
        channels_last: Use the channels-last memory format, which is faster for convolutions in bf16 and fp16.
        compile: Mode of `torch.compile` for the networks; `true` for its default mode, `false` to not compile.
        accum_iter: Number of micro-batches that a batch is split into. Their gradients are accumulated, which gives the
            same step with less memory if the losses are means over images.
        grad_clip: Maximum norm of each network's gradient.
        max_nonfinite_iters: Number of consecutive iterations with a non-finite loss or gradient after which training
            stops. Such an iteration does not update the weights, and no checkpoint is saved in it.
    """

    precision: str = 'fp32'
    channels_last: bool = False
    compile: str | bool = False
    accum_iter: int = 1
    grad_clip: float | None = None
    max_nonfinite_iters: int = 10

    @classmethod
    def from_options(cls, train: Mapping[str, Any]) -> 'TrainSettings':
        """Select these settings from the section `train`, which contains other keys as well."""
        return cls(**{field.name: train[field.name] for field in fields(cls) if train.get(field.name) is not None})

    @property
    def memory_format(self) -> torch.memory_format:
        """Memory format of images and weights."""
        return torch.channels_last if self.channels_last else torch.contiguous_format

    @property
    def cuda_graphs(self) -> bool:
        """Whether compiled networks run as CUDA graphs, which overwrite their previous outputs."""
        return self.compile in CUDA_GRAPH_MODES

    @property
    def compile_mode(self) -> str | None:
        """Mode of `torch.compile`, or None to not compile."""
        return COMPILE_MODES[0] if self.compile is True else self.compile or None

    def micro_batches(self, batch: Tensor) -> list[Tensor]:
        """Split a batch into `accum_iter` micro-batches; a ValueError if they would differ in size."""
        if len(batch) % self.accum_iter:
            raise ValueError(f'accum_iter: got {self.accum_iter}, expected a divisor of the batch size {len(batch)}')
        return list(batch.to(memory_format=self.memory_format).chunk(self.accum_iter))

    def problems(self, batch_size: object = None) -> list[str]:
        """List invalid values, each as `key: got ..., expected ...`; `accum_iter` must divide `batch_size`."""
        modes = ', '.join(COMPILE_MODES)
        checks = {
            'precision': (
                isinstance(self.precision, str) and self.precision in PRECISIONS,
                f'one of {", ".join(PRECISIONS)}',
            ),
            'channels_last': (isinstance(self.channels_last, bool), 'true or false'),
            'compile': (isinstance(self.compile, bool) or self.compile in COMPILE_MODES, f'true, false, {modes}'),
            'accum_iter': (_is_positive(self.accum_iter, int), 'a positive integer'),
            'grad_clip': (self.grad_clip is None or _is_positive(self.grad_clip, (int, float)), 'a positive number'),
            'max_nonfinite_iters': (_is_positive(self.max_nonfinite_iters, int), 'a positive integer'),
        }
        invalid = [(name, expected) for name, (valid, expected) in checks.items() if not valid]
        if invalid:
            return [f'{name}: got {getattr(self, name)!r}, expected {expected}' for name, expected in invalid]
        if isinstance(batch_size, int) and batch_size % self.accum_iter:
            return [f'accum_iter: got {self.accum_iter}, expected a divisor of batch_size_per_gpu, {batch_size}']
        if self.accum_iter > 1 and self.cuda_graphs:
            return [
                f'compile: got {self.compile!r} with accum_iter: {self.accum_iter}, but CUDA graphs overwrite the'
                ' outputs of earlier micro-batches. Use compile: default or accum_iter: 1'
            ]
        return []


def _is_positive(value: Any, types: Any) -> bool:
    return isinstance(value, types) and not isinstance(value, bool) and value > 0
