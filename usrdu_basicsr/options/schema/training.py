"""The section `train` of both stages."""

from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from usrdu_basicsr.options.schema.components import (
    FeatureUncertaintyLoss,
    GANLoss,
    Optimizer,
    PixelLoss,
    Scheduler,
    UncertaintyLoss,
    VGGLoss,
)
from usrdu_basicsr.options.schema.rules import Calculation, Rule, differs, equals, has, lacks, value_at
from usrdu_basicsr.options.schema.section import Iterations, integral
from usrdu_basicsr.options.schema.training_step import CUDA_GRAPH_MODES, DSNStepOptions, StepOptions

LOSSES = ('pixel_opt', 'perceptual_opt', 'low_frequency_opt', 'gan_opt')


def _periods_problem(train: Any) -> str | None:
    """BasicSR's CosineAnnealingRestartLR fails after its last period."""
    periods, total = value_at(train, ('scheduler', 'periods')), value_at(train, ('total_iter',))
    if not isinstance(periods, list) or not all(isinstance(each, int | float) for each in (*periods, total)):
        return None
    return f'got a sum of {sum(periods)}, expected at least total_iter {total}' if sum(periods) + 1 < total else None


class TrainOptions(StepOptions):
    """Options of the training of both stages."""

    total_iter: Iterations
    """Number of iterations."""
    warmup_iter: Annotated[int, Field(ge=-1), BeforeValidator(integral)] = -1
    """Number of iterations in which the learning rate rises linearly from 0; -1 for none."""
    ema_decay: Annotated[float, Field(ge=0, lt=1)] = 0
    """Decay of the averaged weights (`params_ema`); 0 for no averaging."""
    optim_g: Optimizer
    """Optimizer of `network_g`."""
    optim_d: Optimizer | None = None
    """Optimizer of `network_d`."""
    scheduler: Scheduler
    """Learning rate schedule of all optimizers."""
    gan_opt: GANLoss | None = None
    """GAN loss, with `network_d`."""
    combinations = (
        Calculation(('scheduler', 'periods'), _periods_problem),
        Rule(
            ('compile',),
            (equals('compile', values=CUDA_GRAPH_MODES), has('accum_iter'), differs('accum_iter', values=(1,))),
            'CUDA graphs overwrite the outputs of earlier micro-batches. Use compile: default or accum_iter: 1',
        ),
        *(
            Rule(
                (loss, key),
                (equals(loss, key, values=(value,)), has('accum_iter'), differs('accum_iter', values=(1,))),
                f'got {value}, expected a mean over images for accum_iter > 1',
            )
            for loss in LOSSES
            for key, value in (('reduction', 'sum'), ('criterion', 'fro'))
        ),
    )


class DSNTrainOptions(DSNStepOptions, TrainOptions):
    """Training of the downsampling network."""

    pixel_opt: UncertaintyLoss
    """Loss of the mean and the scale, LaplaceKLLoss."""
    perceptual_opt: FeatureUncertaintyLoss | None = None
    """Loss of VGG features and their scales, UncertaintyPerceptualLoss."""
    combinations = (
        *TrainOptions.combinations,
        Rule(('kernels',), (equals('target', values=('kernel',)), lacks('kernels'))),
        Rule(('kernels',), (has('kernels'), differs('target', values=('kernel',))), 'requires target: kernel'),
    )


class SRNTrainOptions(TrainOptions):
    """Training of the SR network."""

    pixel_opt: PixelLoss | None = None
    """Loss of the pixels."""
    perceptual_opt: VGGLoss | None = None
    """Loss of VGG features."""
    low_frequency_opt: PixelLoss | None = None
    """Loss of the low frequencies, LowFrequencyLoss."""
    combinations = (
        *TrainOptions.combinations,
        Rule(
            ('pixel_opt',),
            (lacks('pixel_opt'), lacks('perceptual_opt')),
            'got none, expected this or perceptual_opt',
        ),
    )
