"""Groups of dataset options, which the sections of the datasets combine."""

from typing import Annotated, Literal

from pydantic import Field

from usrdu_basicsr.options.schema.describe import ONE_PLACEHOLDER
from usrdu_basicsr.options.schema.paths import Folder, MetaInfo
from usrdu_basicsr.options.schema.rules import Rule, differs, equals, has, lacks, matches
from usrdu_basicsr.options.schema.section import NonNegativeInteger, PositiveInteger, PositiveNumber, Section

LMDB = r'\.lmdb$'
ROOTS = ('dataroot_gt', 'dataroot_lq', 'dataroot_log_scale')


class IOBackend(Section):
    """Storage of images."""

    type: Literal['disk', 'lmdb']
    """`disk` for a folder, `lmdb` for an LMDB."""


class DatasetOptions(Section):
    """Options of every dataset."""

    name: str
    """Name of the dataset in logs, metrics and result folders."""
    type: str
    """Registered name of the dataset class."""
    pin_memory: bool = False
    """Load batches into pinned memory, which overlaps copies to the GPU with computation."""
    combinations = (
        *(
            Rule(
                ('io_backend', 'type'),
                (has(root), equals('io_backend', 'type', values=(backend,)), condition),
                f'{backend} contradicts {root}, which is {what}. Use {other}',
            )
            for root in ROOTS
            for backend, other, what, condition in (
                ('disk', 'lmdb', 'an LMDB', matches(root, pattern=LMDB)),
                ('lmdb', 'disk', 'a folder', matches(root, pattern=r'^(?!.*\.lmdb$)')),
            )
        ),
        *(
            Rule((option,), (has(option), lacks(other)), f'requires {other}')
            for option, other in (('mean', 'std'), ('std', 'mean'))
        ),
    )


class TrainDatasetOptions(DatasetOptions):
    """Options of every dataset for training, most of which BasicSR's data loader reads."""

    num_worker_per_gpu: NonNegativeInteger
    """Number of data workers per GPU, or of the process without a GPU."""
    batch_size_per_gpu: PositiveInteger
    """Number of patches per step and GPU."""
    dataset_enlarge_ratio: PositiveNumber = 1
    """Number of passes over the images that count as one epoch; long epochs save time between epochs."""
    persistent_workers: bool = False
    """Keep the data workers between epochs."""
    prefetch_mode: Literal['cpu', 'cuda'] | None = None
    """Prefetch batches in a thread (`cpu`) or on a CUDA stream (`cuda`)."""
    num_prefetch_queue: PositiveInteger = 1
    """Number of batches that `prefetch_mode: cpu` loads ahead."""
    combinations = (
        *DatasetOptions.combinations,
        Rule(
            ('persistent_workers',),
            (equals('persistent_workers', values=(True,)), equals('num_worker_per_gpu', values=(0,))),
            'true requires num_worker_per_gpu >= 1',
        ),
        Rule(
            ('prefetch_mode',),
            (equals('prefetch_mode', values=('cuda',)), differs('pin_memory', values=(True,))),
            'cuda requires pin_memory: true',
        ),
    )


class PatchOptions(Section):
    """Random crops for training."""

    gt_size: PositiveInteger
    """Side of the HR patches in pixels, a multiple of the scale."""
    use_hflip: bool = False
    """Flip patches horizontally at random."""
    use_rot: bool = False
    """Flip patches vertically and rotate them by 90 degrees at random."""


class MarginOptions(Section):
    """Surroundings of random crops."""

    margin: NonNegativeInteger = 36
    """HR pixels around a patch that `network_dsn` sees: at least its receptive radius, and a multiple of the scale."""


class PolicyOptions(Section):
    """Handling of images that turn out to be unreadable or too small."""

    on_bad_image: Literal['stop', 'skip'] = 'stop'
    """Stop the training, or skip the image and log it."""


class HRImageOptions(Section):
    """HR images."""

    dataroot_gt: Folder
    """Folder or LMDB of the HR images."""
    meta_info_file: MetaInfo | None = None
    """List of the HR images to use; all images without it."""
    io_backend: IOBackend | None = None
    """Storage, `type: disk` or `type: lmdb`; not required, because the name of an LMDB ends in `.lmdb`."""


class UnpairedImageOptions(HRImageOptions):
    """HR images and unpaired camera images."""

    dataroot_lq: Folder
    """Folder or LMDB of the camera images (real LR images)."""
    meta_info_file_lq: MetaInfo | None = None
    """List of the camera images to use; all images without it."""
    epoch_over: Literal['lq', 'gt'] = 'lq'
    """Images that an epoch passes over once: the camera images (as published) or the HR images."""


class UncertaintyPairedOptions(HRImageOptions):
    """HR images and the set generated from them."""

    dataroot_lq: Folder
    """Folder or LMDB of the generated means."""
    dataroot_log_scale: Folder
    """Folder or LMDB of the generated log-scales."""


class BasicSROptions(Section):
    """Options of BasicSR's image datasets."""

    io_backend: IOBackend
    """Storage, `type: disk` or `type: lmdb`."""
    meta_info_file: MetaInfo | None = None
    """List of the images to use; all images without it."""
    color: Literal['y'] | None = None
    """Convert images to their luma."""
    mean: Annotated[list[float], Field(min_length=3, max_length=3)] | None = None
    """Mean of each channel, which is subtracted."""
    std: Annotated[list[PositiveNumber], Field(min_length=3, max_length=3)] | None = None
    """Standard deviation of each channel, by which values are divided."""


class PairedImageOptions(BasicSROptions):
    """Pairs of HR and LR images of equal names."""

    dataroot_gt: Folder
    """Folder or LMDB of the HR images."""
    dataroot_lq: Folder
    """Folder or LMDB of the LR images."""
    filename_tmpl: Annotated[str, Field(pattern=ONE_PLACEHOLDER)] = '{}'
    """Name of an LR image without extension; `{}` stands for the name of the HR image."""


class SingleImageOptions(BasicSROptions):
    """LR images without ground truth."""

    dataroot_lq: Folder
    """Folder or LMDB of the LR images."""
