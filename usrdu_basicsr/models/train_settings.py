"""How a training step is computed, whatever it computes: the options under `train:` that both models share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from usrdu_basicsr.utils.precision import PRECISIONS

# of torch.compile; `true` in the options means the first
COMPILE_MODES = ('default', 'reduce-overhead', 'max-autotune', 'max-autotune-no-cudagraphs')
CUDA_GRAPHS = ('reduce-overhead', 'max-autotune')


@dataclass(frozen=True)
class TrainSettings:
    """Options under `train:`; by default networks compute as the published ones, in float32 throughout.

    Attributes:
        precision: Of the networks, see `usrdu_basicsr.utils.precision`. PyTorch by itself rounds convolutions to TF32
            on GPUs since Ampere; here `fp32` does not, `tf32` does.
        channels_last: Keep the channels of a pixel side by side in memory, which convolutions in bf16 and fp16 want.
        compile: Mode of `torch.compile` for the networks, `true` for its default one, `false` for none.
        accum_iter: In how many parts a batch goes through the networks, one after the other; their gradients are added
            up, so it is the same step in less memory, if losses are means over images.
        grad_clip: Largest norm of each network's gradient; larger ones are shortened to it.
        max_nonfinite_iters: Training stops after so many iterations in a row with a non-finite loss or gradient. Such
            an iteration changes no weights, and no checkpoint is saved in it.
    """

    precision: str = 'fp32'
    channels_last: bool = False
    compile: str | bool = False
    accum_iter: int = 1
    grad_clip: float | None = None
    max_nonfinite_iters: int = 10

    @classmethod
    def of(cls, train: Mapping[str, Any]) -> TrainSettings:
        """From the section `train`, in which other keys stand as well."""
        return cls(**{field.name: train[field.name] for field in fields(cls) if train.get(field.name) is not None})

    @property
    def cuda_graphs(self) -> bool:
        """Whether compiled networks run as CUDA graphs, which overwrite what they gave before."""
        return self.compile in CUDA_GRAPHS

    @property
    def compile_mode(self) -> str | None:
        """Mode of `torch.compile`, or None to not compile."""
        return COMPILE_MODES[0] if self.compile is True else self.compile or None

    def problems(self, batch_size: object = None) -> list[str]:
        """What is wrong with the values, each as `key: got ..., expected ...`.

        Args:
            batch_size: What a process trains on at once, as the options say, if they do.
        """
        clip = self.grad_clip
        wanted = {
            'precision': (isinstance(self.precision, str) and self.precision in PRECISIONS, ', '.join(PRECISIONS)),
            'channels_last': (isinstance(self.channels_last, bool), 'true or false'),
            'compile': (
                isinstance(self.compile, bool) or self.compile in COMPILE_MODES,
                f'true, false, {", ".join(COMPILE_MODES)}',
            ),
            'accum_iter': (_is_count(self.accum_iter), 'a whole number from 1 on'),
            'grad_clip': (clip is None or (_is_number(clip) and clip > 0), 'a number above 0'),
            'max_nonfinite_iters': (_is_count(self.max_nonfinite_iters), 'a whole number from 1 on'),
        }
        found = [
            f'{name}: got {getattr(self, name)!r}, expected {expected}'
            for name, (good, expected) in wanted.items()
            if not good
        ]
        if not found and isinstance(batch_size, int) and batch_size % self.accum_iter:
            found.append(f'accum_iter: got {self.accum_iter}, expected a divisor of batch_size_per_gpu, {batch_size}')
        if not found and self.accum_iter > 1 and self.cuda_graphs:
            found.append(f'compile: {self.compile} keeps one part of a batch alone: write default, or accum_iter: 1')
        return found


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1
