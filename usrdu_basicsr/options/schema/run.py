"""Whole options files: training and test of both stages."""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from usrdu_basicsr.options.reading import STAGE_1, STAGE_2
from usrdu_basicsr.options.schema.checkpoints import PathOptions, SRNPathOptions, TestPathOptions
from usrdu_basicsr.options.schema.components import DSN, Discriminator, Generator, OnlineDSN
from usrdu_basicsr.options.schema.datasets import (
    DSNTestDatasets,
    DSNTrainDatasets,
    SRNTestDatasets,
    SRNTrainDatasets,
)
from usrdu_basicsr.options.schema.describe import NAME
from usrdu_basicsr.options.schema.logger import LoggerOptions
from usrdu_basicsr.options.schema.rules import Calculation, Rule, differs, equals, has, lacks, value_at
from usrdu_basicsr.options.schema.section import NonNegativeInteger, PositiveInteger, Section
from usrdu_basicsr.options.schema.training import DSNTrainOptions, SRNTrainOptions
from usrdu_basicsr.options.schema.validation import DSNTestValOptions, DSNValOptions, SRNTestValOptions, SRNValOptions

VGG_STRIDE = 16  # of the features of stage 1's perceptual loss


class DistOptions(Section):
    """Distributed training with `--launcher slurm`."""

    backend: Literal['nccl', 'gloo'] = 'nccl'
    """Backend; on machines without a GPU gloo is used."""
    port: Annotated[int, Field(ge=1, le=65535)] | None = None
    """Port of the first node."""


class RunOptions(Section):
    """Options of every run."""

    label: ClassVar[str]  # of the run, for messages
    name: Annotated[str, Field(pattern=NAME)]
    """Name of the run, and of its folder in `experiments` or `results`."""
    model_type: str
    """`UncertaintyDSNModel` for stage 1, `GradientGANModel` for stage 2."""
    scale: PositiveInteger
    """Upscaling factor: the ratio of HR to LR size."""
    num_gpu: NonNegativeInteger | Literal['auto']
    """Number of GPUs of the process: `auto` for all, 0 for the CPU."""
    manual_seed: Annotated[int, Field(ge=0, lt=2**32)] | None = None
    """Random seed; a random one without it."""
    find_unused_parameters: bool = False
    """Option of DistributedDataParallel for networks with parameters that a step does not use."""
    dist_params: DistOptions | None = None
    """Distributed training with `--launcher slurm`."""


def _patch_size_problem(smallest: Any) -> Any:
    def problem(options: Any) -> str | None:
        size, scale = value_at(options, ('datasets', 'train', 'gt_size')), value_at(options, ('scale',))
        if not isinstance(size, int) or not isinstance(scale, int) or min(size, scale) < 1:
            return None
        least = smallest(options) * scale
        if size % scale == 0 and size >= least:
            return None
        return f'got {size}, expected a multiple of the scale {scale} that is >= {least}'

    return problem


def _accum_iter_problem(options: Any) -> str | None:
    parts, size = (value_at(options, path) for path in (('train', 'accum_iter'), BATCH_SIZE))
    if not isinstance(parts, int) or not isinstance(size, int) or parts < 1 or size % parts == 0:
        return None
    return f'got {parts}, expected a divisor of batch_size_per_gpu {size}'


BATCH_SIZE = ('datasets', 'train', 'batch_size_per_gpu')
TRAINING_COMBINATIONS = (
    Rule(('train', 'gan_opt'), (has('network_d'), lacks('train', 'gan_opt'))),
    Rule(('train', 'optim_d'), (has('network_d'), lacks('train', 'optim_d'))),
    Rule(('train', 'gan_opt'), (has('train', 'gan_opt'), lacks('network_d')), 'requires network_d'),
    Rule(('train', 'optim_d'), (has('train', 'optim_d'), lacks('network_d')), 'requires network_d'),
    Calculation(('train', 'accum_iter'), _accum_iter_problem),
)


class DSNTraining(RunOptions):
    """Training of stage 1, `model_type: UncertaintyDSNModel`."""

    label = 'a training of stage 1'
    model_type: Literal['UncertaintyDSNModel']
    """Stage 1."""
    datasets: DSNTrainDatasets
    """Training set, and any number of validation sets."""
    network_g: DSN
    """Downsampling network."""
    network_d: Discriminator | None = None
    """Discriminator."""
    path: PathOptions
    """Checkpoints to start from."""
    train: DSNTrainOptions
    """Training."""
    val: DSNValOptions | None = None
    """Validation."""
    logger: LoggerOptions
    """Logs and checkpoints."""
    combinations = (
        *TRAINING_COMBINATIONS,
        Calculation(
            ('datasets', 'train', 'gt_size'),
            _patch_size_problem(lambda options: VGG_STRIDE if value_at(options, ('train', 'perceptual_opt')) else 1),
        ),
        Rule(
            ('train', 'kernels'),
            (
                has('network_g', 'kernel_size'),
                differs('network_g', 'kernel_size', values=(0,)),
                lacks('train', 'kernels'),
            ),
            'got nothing, expected the kernel of a measured camera for network_g: kernel_size',
        ),
    )


class SRNTraining(RunOptions):
    """Training of stage 2, `model_type: GradientGANModel`."""

    label = 'a training of stage 2'
    model_type: Literal['GradientGANModel']
    """Stage 2."""
    datasets: SRNTrainDatasets
    """Training set, and any number of validation sets."""
    network_g: Generator
    """SR network."""
    network_d: Discriminator | None = None
    """Discriminator of gradient images."""
    network_dsn: OnlineDSN | None = None
    """Downsampling network that predicts LR images in each step, instead of a generated set."""
    path: SRNPathOptions
    """Checkpoints to start from."""
    train: SRNTrainOptions
    """Training."""
    val: SRNValOptions | None = None
    """Validation."""
    logger: LoggerOptions
    """Logs and checkpoints."""
    combinations = (
        *TRAINING_COMBINATIONS,
        Calculation(('datasets', 'train', 'gt_size'), _patch_size_problem(lambda options: 1)),
        Rule(('path', 'pretrain_network_dsn'), (has('network_dsn'), lacks('path', 'pretrain_network_dsn'))),
        Rule(
            ('datasets', 'train', 'type'),
            (
                has('network_dsn'),
                equals('datasets', 'train', 'type', values=('UncertaintyPairedDataset', 'PairedImageDataset')),
            ),
            'expected HRImageDataset with network_dsn, which predicts the LR images',
        ),
        Rule(
            ('datasets', 'train', 'type'),
            (lacks('network_dsn'), equals('datasets', 'train', 'type', values=('HRImageDataset',))),
            'HRImageDataset requires network_dsn, which predicts the LR images',
        ),
    )


def _test_set_problem(options: Any) -> str | None:
    return 'got no test set, expected at least one, such as test_1' if value_at(options, ('datasets',)) == {} else None


class Test(RunOptions):
    """Options of the test of both stages."""

    path: TestPathOptions
    """Checkpoint to test."""
    combinations = (
        Calculation(('datasets',), _test_set_problem),
        Rule(
            ('path', 'pretrain_network_g'),
            (lacks('path', 'pretrain_network_g'), differs('network_g', 'type', values=('SpandrelArch',))),
        ),
    )


class DSNTest(Test):
    """Test of stage 1, `model_type: UncertaintyDSNModel`."""

    label = 'a test of stage 1'
    model_type: Literal['UncertaintyDSNModel']
    """Stage 1."""
    datasets: DSNTestDatasets
    """Any number of test sets."""
    network_g: DSN
    """Downsampling network."""
    val: DSNTestValOptions
    """Results and metrics."""


class SRNTest(Test):
    """Test of stage 2, `model_type: GradientGANModel`."""

    label = 'a test of stage 2'
    model_type: Literal['GradientGANModel']
    """Stage 2."""
    datasets: SRNTestDatasets
    """Any number of test sets."""
    network_g: Generator
    """SR network."""
    val: SRNTestValOptions
    """Results and metrics."""


RUNS: dict[tuple[str, bool], type[RunOptions]] = {
    (STAGE_1, True): DSNTraining,
    (STAGE_2, True): SRNTraining,
    (STAGE_1, False): DSNTest,
    (STAGE_2, False): SRNTest,
}
