"""Sections of `datasets`."""

from typing import Annotated

from basicsr.utils.registry import DATASET_REGISTRY
from pydantic import ConfigDict, Field

from usrdu_basicsr.options.schema.by_type import ByType, Mapped
from usrdu_basicsr.options.schema.dataset_options import (
    DatasetOptions,
    HRImageOptions,
    MarginOptions,
    PairedImageOptions,
    PatchOptions,
    PolicyOptions,
    SingleImageOptions,
    TrainDatasetOptions,
    UncertaintyPairedOptions,
    UnpairedImageOptions,
)
from usrdu_basicsr.options.schema.section import Section
from usrdu_basicsr.utils.registry import find_registered


class UnpairedTrain(UnpairedImageOptions, PatchOptions, PolicyOptions, TrainDatasetOptions):
    """HR images and unpaired camera images, for the training of stage 1."""


class HRTrain(HRImageOptions, PatchOptions, MarginOptions, PolicyOptions, TrainDatasetOptions):
    """HR images whose LR distribution `network_dsn` predicts in each step of stage 2."""


class UncertaintyPairedTrain(UncertaintyPairedOptions, PatchOptions, PolicyOptions, TrainDatasetOptions):
    """HR images and the set generated from them, for the training of stage 2."""


class PairedTrain(PairedImageOptions, PatchOptions, TrainDatasetOptions):
    """Pairs of HR and LR images of equal names, for training."""

    use_hflip: bool
    """Flip patches horizontally at random."""
    use_rot: bool
    """Flip patches vertically and rotate them by 90 degrees at random."""


class HRVal(HRImageOptions, DatasetOptions):
    """HR images for a validation of stage 1 without camera images."""


class PairedVal(PairedImageOptions, DatasetOptions):
    """Pairs of HR and LR images of equal names, for validation."""


class SingleVal(SingleImageOptions, DatasetOptions):
    """LR images for a validation without ground truth."""


class OtherTrain(TrainDatasetOptions):
    """Dataset that another package registers, for training."""

    model_config = ConfigDict(extra='allow')


class OtherVal(DatasetOptions):
    """Dataset that another package registers, for validation."""

    model_config = ConfigDict(extra='allow')


TRAIN: dict[str, type[Section]] = {
    'UnpairedImageDataset': UnpairedTrain,
    'UncertaintyPairedDataset': UncertaintyPairedTrain,
    'HRImageDataset': HRTrain,
    'PairedImageDataset': PairedTrain,
}
VAL: dict[str, type[Section]] = {
    'HRImageDataset': HRVal,
    'PairedImageDataset': PairedVal,
    'SingleImageDataset': SingleVal,
}


def _dataset(where: str, sections: dict[str, type[Section]], names: tuple[str, ...], other: type[Section]) -> ByType:
    supported = {name: sections[name] for name in names}

    def is_registered(name: str) -> bool:
        return find_registered(DATASET_REGISTRY, name) is not None

    return ByType(lambda: supported, lambda section: section, is_registered, where, other, {*TRAIN, *VAL})


DSNTrainDataset = Annotated[
    Mapped,
    _dataset('for training in stage 1', TRAIN, ('UnpairedImageDataset', 'PairedImageDataset'), OtherTrain),
]
DSNValDataset = Annotated[
    Mapped, _dataset('for validation in stage 1', VAL, ('HRImageDataset', 'PairedImageDataset'), OtherVal)
]
SRNTrainDataset = Annotated[
    Mapped,
    _dataset(
        'for training in stage 2',
        TRAIN,
        ('UncertaintyPairedDataset', 'HRImageDataset', 'PairedImageDataset'),
        OtherTrain,
    ),
]
SRNValDataset = Annotated[
    Mapped, _dataset('for validation in stage 2', VAL, ('PairedImageDataset', 'SingleImageDataset'), OtherVal)
]


class TrainDatasets(Section):
    """`train`, and any number of validation sets `val`, `val_2`, ..."""

    model_config = ConfigDict(extra='allow')
    extra_key = 'val'


class DSNTrainDatasets(TrainDatasets):
    """Datasets of a training of stage 1."""

    __pydantic_extra__: dict[str, DSNValDataset] = Field(init=False)
    train: DSNTrainDataset
    """Training set."""


class SRNTrainDatasets(TrainDatasets):
    """Datasets of a training of stage 2."""

    __pydantic_extra__: dict[str, SRNValDataset] = Field(init=False)
    train: SRNTrainDataset
    """Training set."""


class TestDatasets(Section):
    """Test sets `test`, `test_1`, `test_2`, ..., at least one."""

    model_config = ConfigDict(extra='allow', json_schema_extra={'minProperties': 1})
    extra_key = 'test'


class DSNTestDatasets(TestDatasets):
    """Datasets of a test of stage 1."""

    __pydantic_extra__: dict[str, DSNValDataset] = Field(init=False)


class SRNTestDatasets(TestDatasets):
    """Datasets of a test of stage 2."""

    __pydantic_extra__: dict[str, SRNValDataset] = Field(init=False)
