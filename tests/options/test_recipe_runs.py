"""Every shipped recipe is checked, built and trained for one step, and reads only keys that the schema knows."""

from copy import deepcopy
from pathlib import Path

import pytest
import torch
import torchvision
from basicsr.data import build_dataloader, build_dataset
from basicsr.models import build_model

from option_reads import Recorder, known_paths
from recipe_runs import OPTIONS, make_checkpoints, make_data, read
from usrdu_basicsr.options.schema.run import RUNS

FILES = sorted(OPTIONS.rglob('*.yml'))


@pytest.mark.slow
@pytest.mark.parametrize('path', FILES, ids=lambda path: f'{path.parent.name}/{path.stem}')
def test_every_recipe_is_built_and_stepped(path: Path, parse, monkeypatch: pytest.MonkeyPatch):
    opt = read(path)
    is_train = 'train' in opt
    percep = opt.get('train', {}).get('perceptual_opt')
    if percep and percep['type'] == 'UncertaintyPerceptualLoss':
        percep['weights'] = 'random'  # no download
    vgg19 = torchvision.models.vgg19
    monkeypatch.setattr('basicsr.archs.vgg_arch.vgg.vgg19', lambda pretrained: vgg19(weights=None, init_weights=False))
    opt['num_gpu'] = 0
    make_data(opt)
    make_checkpoints(opt)
    given = deepcopy(opt)
    reads: set[tuple[str, ...]] = set()
    opt = Recorder(parse(opt, is_train), reads)
    model = build_model(opt)
    if is_train:
        dataset_opt = opt['datasets']['train']
        loader = build_dataloader(build_dataset(dataset_opt), dataset_opt, num_gpu=0, seed=0)
        model.feed_data(next(iter(loader)))
        model.optimize_parameters(1)
        log = model.get_current_log()
        assert log and all(torch.isfinite(torch.tensor(value)) for value in log.values())
    phase = 'val' if is_train else 'test_1'
    validation = build_dataloader(build_dataset(opt['datasets'][phase]), opt['datasets'][phase], num_gpu=0)
    metrics = set(opt['val'].get('metrics', {}))
    if 'niqe' not in metrics:  # needs larger images
        model.validation(validation, 1, None, False)
        assert set(getattr(model, 'metric_results', {})) == metrics
    section = 'train' if is_train else 'val'
    assert {key: value for key, value in given[section].items() if value is not None} == opt[section]
    assert {('network_g',), ('datasets', phase, 'name'), ('path', 'pretrain_network_g')} <= reads
    unknown = reads - set(known_paths(RUNS[given['model_type'], is_train], given))
    assert not unknown
