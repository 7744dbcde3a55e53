"""Optimizer steps: micro-batches, clipping, loss scales, skipped updates; and the guard that counts them."""

import math

import pytest
import torch
from torch import nn

from usrdu_basicsr.models.nonfinite_guard import NonFiniteGuard
from usrdu_basicsr.models.optimizer_step import OptimizerStep
from usrdu_basicsr.models.train_settings import TrainSettings
from usrdu_basicsr.utils.errors import DivergenceError

CPU = torch.device('cpu')


def sgd(value: float) -> tuple[nn.Parameter, torch.optim.Optimizer]:
    """Three weights of `value` and SGD with a learning rate of 1."""
    parameter = nn.Parameter(torch.full((3,), float(value)))
    return parameter, torch.optim.SGD([parameter], lr=1.0)


@pytest.mark.parametrize('precision', ['fp32', 'fp16'])
def test_gradient_is_clipped_to_its_norm(precision):
    direction = torch.tensor([1.0, 2.0, 2.0])  # of norm 3
    for clip, expected in ((None, direction), (6.0, direction), (1.5, direction / 2)):
        parameter, optimizer = sgd(0)
        optimizer_step = OptimizerStep(optimizer, TrainSettings(precision=precision, grad_clip=clip, accum_iter=2), CPU)
        for _ in range(2):
            optimizer_step.backward((parameter * direction).sum() / 2, (parameter * direction).sum() / 2)
        optimizer_step.step()
        torch.testing.assert_close(-parameter.data, expected)


@pytest.mark.parametrize('clip', [None, 1.0])
@pytest.mark.parametrize('bad', [math.nan, math.inf])
def test_non_finite_gradient_skips_the_update(bad, clip):
    parameter, optimizer = sgd(1)
    optimizer_step = OptimizerStep(optimizer, TrainSettings(grad_clip=clip), CPU)
    optimizer_step.backward(parameter[0] * bad + parameter.sum())
    optimizer_step.step()
    assert parameter.tolist() == [1, 1, 1] and optimizer_step.nonfinite
    optimizer_step.backward(parameter[0] / 2)
    optimizer_step.step()
    assert parameter.tolist() == [0.5, 1, 1]
    assert optimizer_step.state_dict() == {} and not optimizer_step.nonfinite


def test_fp16_lowers_the_loss_scale_and_keeps_it_in_the_checkpoint():
    parameter, optimizer = sgd(1)
    optimizer_step = OptimizerStep(optimizer, TrainSettings(precision='fp16'), CPU)
    optimizer_step.backward(parameter[0] * 1e38)  # overflows float32 when scaled
    optimizer_step.step()
    assert parameter.tolist() == [1, 1, 1] and optimizer_step.state_dict()['scale'] == 2**15
    other = OptimizerStep(optimizer, TrainSettings(precision='fp16'), CPU)
    other.load_state_dict(optimizer_step.state_dict())
    other.backward(parameter[0] / 2)
    assert parameter.grad[0] == 2**14
    other.step()
    assert parameter.tolist() == [0.5, 1, 1] and other.state_dict()['scale'] == 2**15
    for i in range(20):
        other.backward(parameter[0] * math.nan)
        other.step()
        assert other.nonfinite == (i >= 15)  # once the scale cannot be lowered further
    assert other.state_dict()['scale'] == 1
    other.backward(parameter[0] / 2)
    other.step()
    assert not other.nonfinite
    before = other.state_dict()
    other.load_state_dict({})  # checkpoint of a run in another precision
    assert other.state_dict() == before


def test_guard_counts_consecutive_iterations_per_loss():
    guard = NonFiniteGuard(3)
    assert guard.last_nonfinite() == []
    steps = {'l_a': [0, 1, 1, 0, 1, 0], 'l_b': [0, 0, 1, 0, 0, 1]}
    for i, values in enumerate(zip(*steps.values(), strict=True), 1):
        guard({name: torch.tensor(bool(value)) for name, value in zip(steps, values, strict=True)}, i)
    assert guard.last_nonfinite() == ['l_b']
    with pytest.raises(DivergenceError) as error:
        for i in (7, 8, 9, 10):
            guard({'l_a': torch.tensor(False), 'l_b': torch.tensor(True)}, i)
    assert str(error.value).startswith(
        'Training stopped after 3 consecutive iterations with non-finite l_b (iteration 8). They'
    )
