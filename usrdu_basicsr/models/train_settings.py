"""Options under `train` that both models share, as the training uses them."""

import torch
from torch import Tensor

from usrdu_basicsr.options.schema.training_step import CUDA_GRAPH_MODES, StepOptions


class TrainSettings(StepOptions):
    """Precision, compilation, gradient accumulation and clipping. The defaults are those of the options."""

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
        return 'default' if self.compile is True else self.compile or None

    def micro_batches(self, batch: Tensor) -> list[Tensor]:
        """Split a batch into `accum_iter` micro-batches; a ValueError if they would differ in size."""
        if len(batch) % self.accum_iter:
            raise ValueError(f'accum_iter: got {self.accum_iter}, expected a divisor of the batch size {len(batch)}')
        return list(batch.to(memory_format=self.memory_format).chunk(self.accum_iter))
