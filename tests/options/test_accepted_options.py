"""Valid options of BasicSR's users that a strict schema might refuse."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from basicsr.utils.registry import ARCH_REGISTRY, DATASET_REGISTRY, LOSS_REGISTRY
from torch import Tensor, nn

from recipe_runs import OPTIONS, read
from usrdu_basicsr.options.checking import check_options
from usrdu_basicsr.options.reading import read_options_file
from usrdu_basicsr.options.schema.dataset_options import TrainDatasetOptions
from usrdu_basicsr.options.schema.training_step import StepOptions


def problems(folder: Path, opt: dict) -> list[str]:
    path = folder / 'options.yml'
    path.write_text(yaml.safe_dump(opt))
    return [problem.text for problem in check_options(read_options_file(str(path)), 'train' in opt)]


@pytest.fixture
def opt() -> dict:
    return read(OPTIONS / 'demo' / 'train_srn.yml')


class OtherNetwork(nn.Module):
    def __init__(self, _private: int = 1, schema: Any = None, size: int = None, kernel=3, **kwargs: Any) -> None:  # noqa: RUF013
        super().__init__()

    def forward(self, x: Tensor) -> Tensor:
        return x


def other_loss(pred: Tensor, target: Tensor) -> Tensor:
    return (pred - target).mean()


class OtherDataset:
    pass


@pytest.fixture
def other_package() -> Iterator[None]:
    """Components with unusual parameters, which BasicSR accepts."""
    added = {ARCH_REGISTRY: OtherNetwork, LOSS_REGISTRY: other_loss, DATASET_REGISTRY: OtherDataset}
    for registry, component in added.items():
        registry.register(component)
    yield
    for registry, component in added.items():
        del registry._obj_map[component.__name__]


def test_components_of_other_packages(tmp_path: Path, opt: dict, other_package: None):
    assert not problems(tmp_path, opt), 'unused ones have no influence'
    opt['network_g'] = {'type': 'OtherNetwork', '_private': 2, 'schema': 'x', 'size': None, 'kernel': [3, 5], 'more': 1}
    opt['network_dsn'] = {'type': 'UncertaintyDSN'}
    opt['path']['pretrain_network_dsn'] = 'dsn.pth'
    opt['datasets']['train'] = {
        'type': 'OtherDataset',
        'name': 'other',
        'batch_size_per_gpu': 1,
        'num_worker_per_gpu': 0,
        'gt_size': 64,
        'anything': [1],
    }
    assert not problems(tmp_path, opt)


def test_null_stands_for_the_default(tmp_path: Path, opt: dict):
    opt['train'] |= dict.fromkeys(StepOptions.model_fields)
    opt['path'] |= {'param_key_g': None, 'strict_load_g': None}
    optional = [name for name, field in TrainDatasetOptions.model_fields.items() if not field.is_required()]
    opt['datasets']['train'] |= dict.fromkeys((*optional, 'use_hflip', 'use_rot', 'meta_info_file'))
    opt |= {'dist_params': None, 'val': None, 'network_d': None, 'find_unused_parameters': None}
    assert not problems(tmp_path, opt)
    opt['train']['total_iter'] = opt['network_g']['upscale'] = None
    assert problems(tmp_path, opt) == [
        'network_g: upscale: got ~, expected an integer',
        'train: total_iter: got ~, expected an integer >= 1',
    ]


@pytest.mark.parametrize('key', ['val_2', 'val_Set5-x4', 'val_a.b'])
def test_names_of_validation_sets(tmp_path: Path, opt: dict, key: str):
    opt['datasets'][key] = opt['datasets']['val']
    assert not problems(tmp_path, opt)


def test_numbers_of_iterations_as_floats(tmp_path: Path, opt: dict):
    opt['train'] |= {'total_iter': 1e3, 'scheduler': {'type': 'MultiStepLR', 'milestones': [5e2, 800]}}
    opt['logger'] |= {'print_freq': 1e2, 'save_checkpoint_freq': 5e2}
    assert not problems(tmp_path, opt)
    opt['scale'] = 4.0
    assert problems(tmp_path, opt) == ['scale: got 4.0, expected an integer >= 1']


def test_a_test_needs_a_dataset(tmp_path: Path):
    opt = read(OPTIONS / 'track1' / 'test_srn.yml')
    opt['val'] |= {'val_freq': 100}
    opt['path'] |= {'resume_state': None}
    assert not problems(tmp_path, opt)
    assert problems(tmp_path, opt | {'datasets': {}}) == [
        'datasets: got no test set, expected at least one, such as test_1'
    ]
    unknown = problems(tmp_path, opt | {'datasets': {'tset_1': {}}})
    assert unknown == ["unknown key datasets: tset_1: did you mean 'test'?"]
