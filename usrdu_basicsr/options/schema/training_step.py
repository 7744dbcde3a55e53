"""Options of `train` that the training steps read."""

from typing import Literal

from usrdu_basicsr.options.schema.paths import Folder
from usrdu_basicsr.options.schema.section import PositiveInteger, PositiveNumber, Section

CUDA_GRAPH_MODES = ('reduce-overhead', 'max-autotune')


class StepOptions(Section):
    """Precision, compilation, gradient accumulation and clipping. The defaults compute as the published code does."""

    precision: Literal['fp32', 'tf32', 'bf16', 'fp16'] = 'fp32'
    """Precision of the networks. `tf32` enables and `fp32` disables TF32 convolutions, PyTorch's default."""
    channels_last: bool = False
    """Use the channels-last memory format, which is faster for convolutions in bf16 and fp16."""
    compile: bool | Literal['default', 'reduce-overhead', 'max-autotune', 'max-autotune-no-cudagraphs'] = False
    """Mode of `torch.compile` for the networks; `true` for its default mode."""
    accum_iter: PositiveInteger = 1
    """Number of micro-batches that a batch is split into; less memory for the same step."""
    grad_clip: PositiveNumber | None = None
    """Maximum norm of each network's gradient."""
    max_nonfinite_iters: PositiveInteger = 10
    """Number of consecutive iterations with a non-finite loss or gradient after which training stops."""


class DSNStepOptions(Section):
    """Reference and discriminator of stage 1."""

    high_pass_gain: PositiveNumber = 1.0
    """Gain of the high frequencies that the discriminator sees; a higher one suits a small budget."""
    gan_input: Literal['mean', 'sample'] = 'mean'
    """Generated images that the discriminator sees: means, as published, or samples, whose scale then learns too."""
    target: Literal['bicubic', 'kernel'] = 'bicubic'
    """Reference of the generated mean: bicubic downsampling, or downsampling with a random kernel of `kernels`."""
    kernels: Folder | None = None
    """Folder of blur kernels for `target: kernel`."""
