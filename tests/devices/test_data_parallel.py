"""Several GPUs in one process (BasicSR's DataParallel) compute the same step as one."""

from pathlib import Path

import pytest
import torch

from tiny_runs import STAGES, model_of, step

pytestmark = pytest.mark.cuda(count=2)


@pytest.mark.parametrize('stage', STAGES)
@pytest.mark.parametrize('settings', [{}, {'channels_last': True}, {'accum_iter': 2}, {'precision': 'fp16'}])
def test_step_equals_that_on_one_gpu(stage: str, settings: dict, tmp_path: Path):
    models = [model_of(stage, tmp_path, 16, num_gpu, **settings) for num_gpu in (1, 2)]
    for model in models:
        for optimizer_step in model.optimizer_steps:  # no overflow in fp16
            optimizer_step.load_state_dict(optimizer_step.scaler.state_dict() | {'scale': 2.0**10})
    assert isinstance(models[1].net_g, torch.nn.DataParallel)
    batch = {name: torch.cat([value, value.flip(1)]) for name, value in STAGES[stage][1]().items()}
    tolerance = 0.03 if 'precision' in settings else 1e-3
    expected, got = (step(model, batch) for model in models)
    assert got == pytest.approx(expected, rel=tolerance, abs=1e-6)
    for pair in zip(*(model.optimizers for model in models), strict=True):  # Adam's moving averages of gradients
        one, two = (torch.cat([state['exp_avg'].flatten() for state in each.state.values()]) for each in pair)
        assert (two - one).norm() < tolerance * one.norm()
    models[1].save(0, 1)
    saved = torch.load(tmp_path / 'models' / 'net_g_1.pth', weights_only=True)['params']
    assert list(saved) == list(models[0].net_g.state_dict())  # without the prefix of DataParallel
