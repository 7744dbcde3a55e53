"""Validation history, schedule of a resumed training, and removal of old checkpoints."""

import json
import math
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from basicsr.models.lr_scheduler import CosineAnnealingRestartLR, MultiStepRestartLR

from usrdu_basicsr.models.checkpoints import load_training_state, remove_old_checkpoints
from usrdu_basicsr.models.validation import ValidationHistory
from usrdu_basicsr.utils.errors import InputError

PSNR = {'psnr': {'type': 'calculate_psnr'}}
NLL = {'nll': {'type': 'calculate_laplace_nll', 'better': 'lower'}}


def history_of(path: Path, values: dict[int, float], metric: str = 'psnr') -> ValidationHistory:
    history = ValidationHistory(path / 'validation.jsonl')
    for iteration, value in values.items():
        history.add(iteration, 'first', {metric: value, 'other': -value})
        history.add(iteration, 'second', {metric: -value})
    return history


def test_best_checkpoint_is_by_first_metric_and_first_dataset(tmp_path: Path):
    values = {5: 20.0, 10: 22.0, 15: math.nan, 20: 22.0, 25: 21.0, 30: 40.0}
    history = history_of(tmp_path, values)
    assert history.best([5, 10, 15, 20, 25], PSNR) == 20
    assert history.best([5, 10, 15, 25, 99], PSNR | NLL) == 10
    assert history.best([15, 99], PSNR) is None and history.best([5], {}) is None
    assert history.best([5, 10], NLL) is None  # not measured
    assert history_of(tmp_path / 'nll', values, 'nll').best([5, 10, 25], NLL) == 5
    assert ValidationHistory(tmp_path / 'none.jsonl').best([5], PSNR) is None


def test_best_checkpoint_by_a_metric_that_the_first_dataset_lacks(tmp_path: Path):
    history = ValidationHistory(tmp_path / 'validation.jsonl')
    for iteration, value in ((5, 0.3), (10, 0.1), (15, 0.2)):
        history.add(iteration, 'without ground truth', {'niqe': -value})
        history.add(iteration, 'pairs', {'niqe': value, 'lpips': value})
    assert history.best([5, 10, 15], {'lpips': {'type': 'calculate_lpips', 'better': 'lower'}}) == 10
    assert history.best([5, 10, 15], {'niqe': {'type': 'calculate_niqe', 'better': 'lower'}}) == 5


def test_history_is_resumed(tmp_path: Path):
    path = tmp_path / 'validation.jsonl'
    history_of(tmp_path, {5: 1.0, 10: 2.0, 15: 3.0})
    lines = path.read_text().splitlines()
    assert json.loads(lines[0]) == {'iter': 5, 'dataset': 'first', 'metrics': {'psnr': 1.0, 'other': -1.0}}
    path.write_text('\n'.join(['no JSON', '[1]', '{"iter": 5}', *lines, '{"iter": 5, "data']))
    resumed = ValidationHistory(path)
    resumed.resume_from(10)
    assert path.read_text().splitlines() == lines[:4]
    resumed.add(10, 'first', {'psnr': 4.0})
    assert [record['iter'] for record in resumed.records] == [5, 5, 10, 10]
    assert resumed.best([5, 10], PSNR) == 10 and len(path.read_text().splitlines()) == 4


def test_resumed_training_follows_the_schedule_of_its_options():
    def model(period: int, steps: int) -> SimpleNamespace:
        optimizer = torch.optim.Adam([torch.nn.Parameter(torch.ones(1))], 1e-3)
        scheduler = CosineAnnealingRestartLR(optimizer, [period], eta_min=1e-5)
        for _ in range(steps):
            optimizer.step()
            scheduler.step()
        return SimpleNamespace(optimizers=[optimizer], schedulers=[scheduler], optimizer_steps=[])

    short, longer, expected = model(10, 10), model(40, 0), model(40, 11)
    state = {name: [each.state_dict() for each in getattr(short, name)] for name in ('optimizers', 'schedulers')}
    load_training_state(longer, state)
    longer.optimizers[0].step()
    longer.schedulers[0].step()
    assert longer.schedulers[0].last_epoch == 11
    assert longer.optimizers[0].param_groups[0]['lr'] == expected.optimizers[0].param_groups[0]['lr'] > 8e-4


@pytest.mark.parametrize('scheduler', [CosineAnnealingRestartLR, MultiStepRestartLR])
def test_resumed_training_has_the_optimizer_of_its_options(scheduler: type):
    arguments = {'periods': [40]} if scheduler is CosineAnnealingRestartLR else {'milestones': [5, 12]}

    def model(steps: int, parameters: int = 1, **settings: float) -> SimpleNamespace:
        weights = [torch.nn.Parameter(torch.ones(1)) for _ in range(parameters)]
        optimizer = torch.optim.Adam(weights, **settings)
        schedule = scheduler(optimizer, **arguments)
        for _ in range(steps):
            optimizer.step()
            schedule.step()
        return SimpleNamespace(optimizers=[optimizer], schedulers=[schedule], optimizer_steps=[])

    changed = {'lr': 1e-5, 'weight_decay': 0.1}
    trained, resumed, expected = model(10, lr=1e-3), model(0, **changed), model(10, **changed)
    state = {name: [each.state_dict() for each in getattr(trained, name)] for name in ('optimizers', 'schedulers')}
    load_training_state(resumed, state)
    for _ in range(5):
        (group,), (target,) = (each.optimizers[0].param_groups for each in (resumed, expected))
        assert group['lr'] == pytest.approx(target['lr']) and group['weight_decay'] == 0.1
        assert group['initial_lr'] == 1e-5
        for each in (resumed, expected):
            each.optimizers[0].step()
            each.schedulers[0].step()
    with pytest.raises(InputError, match=r'has other parameters .* add or remove perceptual_opt'):
        load_training_state(model(0, 2, lr=1e-3), state)


@pytest.mark.parametrize(
    ('keep', 'best', 'kept'), [(1, None, {40}), (2, 10, {10, 30, 40}), (2, 40, {30, 40}), (9, None, {10, 20, 30, 40})]
)
def test_old_checkpoints_are_removed(tmp_path: Path, keep: int, best: int | None, kept: set[int]):
    for iteration in (10, 20, 30, 40):
        (tmp_path / f'{iteration}.state').touch()
        for net in 'gd':
            (tmp_path / f'net_{net}_{iteration}.pth').touch()
    others = {'net_g_latest.pth', 'net_d_latest.pth', 'other.pth', 'best.state', '50.state', 'net_g_60.pth'}
    for name in (*others, 'net_g_35.pth'):  # net_g_35.pth is from an interrupted save
        (tmp_path / name).touch()
    remove_old_checkpoints(tmp_path, tmp_path, 40, keep, lambda iterations: best)
    expected = {name.format(i) for i in kept for name in ('{}.state', 'net_g_{}.pth', 'net_d_{}.pth')}
    assert {path.name for path in tmp_path.iterdir()} == expected | others
