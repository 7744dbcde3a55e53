"""How a step is computed: parts of a batch, clipping, lower precision, lost losses, compiled networks, resuming."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from basicsr.models import build_model
from torch import nn

from tiny_runs import dsn_options, generated_batch, same, srn_options, unpaired_batch, weights
from usrdu_basicsr.errors import DivergenceError
from usrdu_basicsr.models.finite_watch import FiniteWatch
from usrdu_basicsr.models.step_settings import StepSettings
from usrdu_basicsr.models.update import Update

CPU = torch.device('cpu')
STAGES = {'dsn': (dsn_options, unpaired_batch), 'srn': (srn_options, generated_batch)}


@pytest.fixture
def bf16_everywhere(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch.ops.mkldnn, '_is_mkldnn_bf16_supported', lambda: True)


def model_of(stage: str, folder: Path, num_feat: int | None = None, **train: object):
    """A model that starts from the same weights each time."""
    opt = STAGES[stage][0](folder)
    torch.manual_seed(1)
    if num_feat is not None:
        opt |= {name: opt[name] | {'num_feat': num_feat} for name in ('network_g', 'network_d')}
    return build_model(opt | {'train': opt['train'] | train})


def step(model, batch: dict[str, torch.Tensor], current_iter: int = 1) -> dict[str, float]:
    model.feed_data(batch)
    model.optimize_parameters(current_iter)
    return model.get_current_log()


def largest_difference(first: nn.Module, second: nn.Module) -> float:
    pairs = zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    return max((one - other).abs().max().item() for one, other in pairs)


@pytest.mark.parametrize('stage', STAGES)
def test_parts_of_a_batch_make_the_same_step(stage, tmp_path):
    batch = {name: torch.cat([value, value.flip(1)]) for name, value in STAGES[stage][1]().items()}
    models = [model_of(stage, tmp_path, accumulate=parts) for parts in (1, 4)]
    for model in models:
        model.net_d.eval()  # its spectral norms advance with each look, so they would with each part
    for current_iter in (1, 2):
        whole, parts = (step(model, batch, current_iter) for model in models)
        assert list(whole) == list(parts)
        for name in whole:
            assert parts[name] == pytest.approx(whole[name], rel=1e-4, abs=1e-6), name
    # Adam turns rounding into steps where a gradient is nearly none: against a step of 1e-3
    for net in ('net_g', 'net_d', 'net_g_ema'):
        assert largest_difference(*(getattr(model, net) for model in models)) < 2e-5, net


@pytest.mark.parametrize('stage', STAGES)
def test_no_gradient_is_left_of_a_step(stage, tmp_path):
    model = model_of(stage, tmp_path, accumulate=2)
    step(model, STAGES[stage][1]())
    assert all(p.grad is None for net in (model.net_g, model.net_d) for p in net.parameters())
    assert not any(value.requires_grad for value in model.log_dict.values())


def sgd(value: float) -> tuple[nn.Parameter, torch.optim.Optimizer]:
    """Three weights of `value`, and steps of 1 along their gradient."""
    parameter = nn.Parameter(torch.full((3,), float(value)))
    return parameter, torch.optim.SGD([parameter], lr=1.0)


@pytest.mark.parametrize('precision', ['fp32', 'fp16'])
def test_clipping_shortens_a_gradient_to_its_norm(precision):
    direction = torch.tensor([1.0, 2.0, 2.0])  # of norm 3
    for clip, expected in ((None, direction), (6.0, direction), (1.5, direction / 2)):
        parameter, optimizer = sgd(0)
        update = Update(optimizer, StepSettings(precision=precision, grad_clip=clip, accumulate=2), CPU)
        for _ in range(2):
            update.backward((parameter * direction).sum() / 2, (parameter * direction).sum() / 2)
        update.step()
        torch.testing.assert_close(-parameter.data, expected)


@pytest.mark.parametrize('clip', [None, 1.0])
@pytest.mark.parametrize('bad', [math.nan, math.inf])
def test_a_gradient_that_is_not_finite_makes_no_step(bad, clip):
    parameter, optimizer = sgd(1)
    update = Update(optimizer, StepSettings(grad_clip=clip), CPU)
    update.backward(parameter[0] * bad + parameter.sum())
    update.step()
    assert parameter.tolist() == [1, 1, 1]
    update.backward(parameter[0] / 2)
    update.step()
    assert parameter.tolist() == [0.5, 1, 1]
    assert update.state_dict() == {}


def test_fp16_lowers_the_loss_scale_and_keeps_it_in_the_checkpoint():
    parameter, optimizer = sgd(1)
    update = Update(optimizer, StepSettings(precision='fp16'), CPU)
    update.backward(parameter[0] * 1e38)  # beyond float32 once scaled
    update.step()
    assert parameter.tolist() == [1, 1, 1] and update.state_dict()['scale'] == 2**15
    other = Update(optimizer, StepSettings(precision='fp16'), CPU)
    other.load_state_dict(update.state_dict())
    other.backward(parameter[0] / 2)
    assert parameter.grad[0] == 2**14
    other.step()
    assert parameter.tolist() == [0.5, 1, 1] and other.state_dict()['scale'] == 2**15
    other.load_state_dict({})  # of a run in another format
    assert other.state_dict()['scale'] == 2**15


def test_the_watch_counts_each_loss_in_a_row():
    watch = FiniteWatch(3, 'Lower the rate')
    losses = {'l_a': [1, math.nan, math.inf, 1, math.nan, 1], 'l_b': [1, 1, math.nan, 1, 1, math.nan]}
    for i, values in enumerate(zip(*losses.values(), strict=True), 1):
        watch(dict(zip(losses, map(torch.tensor, values), strict=True)), i)
    with pytest.raises(DivergenceError) as error:
        for i in (7, 8, 9, 10):
            watch({'l_a': torch.tensor(1.0), 'l_b': torch.tensor(-math.inf)}, i)
    assert str(error.value) == 'iteration 8: not a finite number for 3 iterations in a row: l_b. Lower the rate'


@pytest.mark.parametrize('stage', STAGES)
def test_lost_losses_leave_the_networks_alone_and_stop_the_run(stage, tmp_path):
    model = model_of(stage, tmp_path, max_nonfinite=3)
    good = STAGES[stage][1]()
    bad = good | {'gt': good['gt'].clone()}
    bad['gt'][0, 0, 5, 5] = math.nan
    step(model, good)
    nets = {name: getattr(model, name) for name in ('net_g', 'net_d', 'net_g_ema')}
    before = {name: weights(net) for name, net in nets.items() if name != 'net_g_ema'}
    step(model, bad, 2)
    step(model, bad, 3)
    for name, saved in before.items():
        learned = {key: value for key, value in saved.items() if not key.endswith(('weight_u', 'weight_v'))}
        assert same(learned, {key: nets[name].state_dict()[key] for key in learned}), name
    step(model, good, 4)  # which starts the count anew
    step(model, bad, 5)
    step(model, bad, 6)
    with pytest.raises(DivergenceError, match=r'iteration 7: not a finite number for 3 iterations in a row: l_g_'):
        step(model, bad, 7)
    for name, net in nets.items():
        assert all(value.isfinite().all() for value in net.state_dict().values()), name


@pytest.mark.parametrize('stage', STAGES)
@pytest.mark.usefixtures('bf16_everywhere')
def test_bf16_trains_float32_weights_by_nearly_the_same_losses(stage, tmp_path):
    batch = STAGES[stage][1]()
    full, low = (model_of(stage, tmp_path, 16, precision=name) for name in ('fp32', 'bf16'))
    assert same(full.net_g.state_dict(), low.net_g.state_dict())
    expected, got = step(full, batch), step(low, batch)
    assert expected != got
    for name, value in expected.items():
        assert got[name] == pytest.approx(value, rel=0.02, abs=0.01), name
    assert {value.dtype for value in low.net_g.state_dict().values()} == {torch.float32}
    # and what is validated is float32 whatever was trained
    low.net_g_ema.load_state_dict(full.net_g_ema.state_dict())
    for model in (full, low):
        model.feed_data(batch)
        model.test()
    outputs = [model.output.lr if stage == 'dsn' else model.output for model in (full, low)]
    torch.testing.assert_close(*outputs, rtol=0, atol=1e-5)


@pytest.mark.parametrize('stage', STAGES)
def test_channels_last_changes_the_layout_alone(stage, tmp_path):
    batch = STAGES[stage][1]()
    plain, last = model_of(stage, tmp_path), model_of(stage, tmp_path, channels_last=True)
    for model in (plain, last):
        step(model, batch)
    assert largest_difference(plain.net_g, last.net_g) < 2e-5
    kernels = [p for p in last.net_g.parameters() if p.ndim == 4 and p.shape[1] > 1 and p.shape[2] > 1]
    assert kernels and all(kernel.is_contiguous(memory_format=torch.channels_last) for kernel in kernels)
    last.save(0, 1)
    saved = torch.load(tmp_path / 'models' / 'net_g_1.pth', weights_only=True)
    assert all(value.is_contiguous() for part in saved.values() for value in part.values())


def test_optimizers_change_all_weights_at_once(tmp_path):
    model = model_of('srn', tmp_path)
    assert all(optimizer.defaults['fused'] for optimizer in model.optimizers)
    opt = srn_options(tmp_path)
    settings = {**opt['train']['optim_g'], 'foreach': False}
    model = build_model(opt | {'train': opt['train'] | {'optim_g': settings}})
    assert not model.optimizer_g.defaults['fused'] and model.optimizer_d.defaults['fused']
    step(model, generated_batch())


def resumed(stage: str, folder: Path, current_iter: int, drop: tuple[str, ...] = (), **train: object):
    opt = STAGES[stage][0](folder)
    paths = {f'pretrain_network_{net}': str(folder / 'models' / f'net_{net}_{current_iter}.pth') for net in 'gd'}
    model = build_model(opt | {'path': opt['path'] | paths, 'train': opt['train'] | train})
    state = torch.load(folder / 'training_states' / f'{current_iter}.state', weights_only=True)
    model.resume_training({key: value for key, value in state.items() if key not in drop})
    return model


@pytest.mark.parametrize('stage', STAGES)
def test_a_run_goes_on_in_another_layout(stage, tmp_path):
    batches = [STAGES[stage][1]() for _ in range(3)]
    whole = model_of(stage, tmp_path, channels_last=True)
    step(whole, batches[0])
    step(whole, batches[1], 2)
    whole.save(0, 2)
    step(whole, batches[2], 3)
    other = resumed(stage, tmp_path, 2, drop=('updates',), channels_last=False)
    for optimizer in other.optimizers:
        for parameter, state in optimizer.state.items():
            assert state['exp_avg'].stride() == parameter.stride()
    step(other, batches[2], 3)
    assert largest_difference(whole.net_g, other.net_g) < 2e-5


def test_a_state_of_other_optimizers_serves(tmp_path):
    """Its steps may have been made one weight after the other, as before this package's were fused."""
    opt = srn_options(tmp_path)
    slow = {**opt['train']['optim_g'], 'foreach': False}
    model = build_model(opt | {'train': opt['train'] | {'optim_g': slow, 'optim_d': slow}})
    batch = generated_batch()
    step(model, batch)
    model.save(0, 1)
    step(model, batch, 2)
    other = resumed('srn', tmp_path, 1)
    step(other, batch, 2)
    assert all(group['fused'] for optimizer in other.optimizers for group in optimizer.param_groups)
    assert largest_difference(model.net_g, other.net_g) < 2e-5


def test_averaged_weights_follow_by_the_decay(tmp_path):
    model = model_of('srn', tmp_path, ema_decay=0.75)
    before = weights(model.net_g_ema)
    assert same(before, model.net_g.state_dict())
    step(model, generated_batch())
    for name, value in model.net_g_ema.state_dict().items():
        torch.testing.assert_close(value, 0.75 * before[name] + 0.25 * model.net_g.state_dict()[name])


@pytest.mark.parametrize('stage', STAGES)
def test_compiled_networks_learn_the_same(stage, tmp_path):
    batch = STAGES[stage][1]()
    alone = {'perceptual_opt': None}  # which would take another minute to compile
    plain, compiled = (model_of(stage, tmp_path, compile=choice, **alone) for choice in (False, True))
    for model in (plain, compiled):
        step(model, batch)
    assert largest_difference(plain.net_g, compiled.net_g) < 5e-5
    assert list(plain.net_g.state_dict()) == list(compiled.net_g.state_dict())
    compiled.net_g_ema.load_state_dict(plain.net_g_ema.state_dict())
    with torch._dynamo.config.patch(error_on_recompile=True):  # validation images have sizes of their own
        for model in (plain, compiled):
            model.feed_data({name: value[..., :-8, :] for name, value in batch.items()})
            model.test()
    outputs = [model.output.lr if stage == 'dsn' else model.output for model in (plain, compiled)]
    torch.testing.assert_close(*outputs)
