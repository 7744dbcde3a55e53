"""Whole trainings as a user starts them: prefetching, validation and resuming on each device."""

import json
from pathlib import Path

import pytest
import torch

from experiments import TOTAL, Experiment, options, write_data
from python_process import check_python

pytestmark = pytest.mark.slow
# The loader options under test, which copy batches in the background
PREFETCH = {'cpu': {'prefetch_mode': 'cpu'}, 'cuda': {'prefetch_mode': 'cuda', 'pin_memory': True}}


def train(folder: Path, name: str, stage: str, device: str, *arguments: str, **loader: object) -> Experiment:
    opt = options(name, stage, workers=1, dsn='UncertaintyDSN') | {'num_gpu': int(device == 'cuda')}
    opt['datasets']['train'] |= loader
    opt['train']['total_iter'] = 6
    (folder / f'{name}.yml').write_text(json.dumps(opt))
    command = ('-m', 'usrdu_basicsr', 'train', '-opt', f'{name}.yml', *arguments)
    check_python(*command, cwd=folder, **({'CUDA_VISIBLE_DEVICES': ''} if device == 'cpu' else {}))
    return Experiment(folder, name)


def flat_weights(experiment: Experiment, iteration: int | str, net: str) -> torch.Tensor:
    content = experiment.content(iteration)[f'net_{net}_{iteration}.pth']
    return torch.cat([value.flatten() for part in content.values() for value in part.values()])


def psnr(experiment: Experiment) -> dict[int, float]:
    """PSNR of each validation by iteration."""
    records = map(json.loads, (experiment.folder / 'validation.jsonl').read_text().splitlines())
    return {record['iter']: record['metrics']['psnr'] for record in records}


@pytest.mark.parametrize(
    ('device', 'stage'), [('cpu', 'srn'), *(pytest.param('cuda', stage, marks=pytest.mark.cuda) for stage in TOTAL)]
)
def test_prefetched_and_resumed_training_equals_a_plain_one(device: str, stage: str, tmp_path: Path):
    write_data(tmp_path)
    plain = train(tmp_path, 'plain', stage, device)
    prefetch = PREFETCH[device]
    stopped = train(tmp_path, 'resumed', stage, device, '--force_yml', 'train:total_iter=3', **prefetch)
    assert stopped.newest() == 3
    resumed = train(tmp_path, 'resumed', stage, device, '--auto_resume', **prefetch)
    for net in 'gd':
        expected = flat_weights(plain, 6, net)
        update = (expected - flat_weights(plain, 3, net)).norm()
        # cuDNN may select other algorithms, and Adam turns rounding into steps where gradients are small
        assert (flat_weights(resumed, 6, net) - expected).norm() < (0.2 if net == 'd' else 0.05) * update, net
    expected_psnr = psnr(plain)
    assert list(expected_psnr) == [5, 6]
    assert {i: psnr(resumed)[i] for i in (5, 6)} == pytest.approx(expected_psnr, abs=0.02)
