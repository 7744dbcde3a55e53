"""Training steps: gradient accumulation, clipping, precision, non-finite losses, resuming."""

import math
from pathlib import Path

import pytest
import torch
from basicsr.models import build_model

from tiny_runs import (
    STAGES,
    dsn_options,
    generated_batch,
    largest_difference,
    model_of,
    same,
    srn_options,
    step,
    unpaired_batch,
    weights,
)
from usrdu_basicsr.utils.errors import DivergenceError, InputError


@pytest.mark.parametrize('stage', STAGES)
def test_micro_batches_give_the_same_step(stage, tmp_path):
    batch = {name: torch.cat([value, value.flip(1)]) for name, value in STAGES[stage][1]().items()}
    models = [model_of(stage, tmp_path, accum_iter=accum_iter) for accum_iter in (1, 4)]
    for model in models:
        model.net_d.eval()  # the spectral norms advance with each forward pass, so with each micro-batch
    for current_iter in (1, 2):
        full, accumulated = (step(model, batch, current_iter) for model in models)
        assert list(full) == list(accumulated)
        for name in full:
            assert accumulated[name] == pytest.approx(full[name], rel=1e-4, abs=1e-6), name
    for first, second in zip(*(model.optimizers for model in models), strict=True):
        for one, other in zip(first.state.values(), second.state.values(), strict=True):
            torch.testing.assert_close(one['exp_avg'], other['exp_avg'], rtol=0.01, atol=1e-5)  # mean gradients
    # Adam turns rounding into steps where a gradient is almost 0; a step is 1e-3
    for net in ('net_g', 'net_d', 'net_g_ema'):
        assert largest_difference(*(getattr(model, net) for model in models)) < 2e-5, net


@pytest.mark.parametrize('stage', STAGES)
def test_step_leaves_no_gradient(stage, tmp_path):
    model = model_of(stage, tmp_path, accum_iter=2)
    step(model, STAGES[stage][1]())
    assert all(p.grad is None for net in (model.net_g, model.net_d) for p in net.parameters())
    assert not any(value.requires_grad for value in model.log_dict.values())


@pytest.mark.parametrize('stage', STAGES)
def test_non_finite_losses_skip_updates_and_stop_the_run(stage, tmp_path):
    model = model_of(stage, tmp_path, max_nonfinite_iters=3)
    good = STAGES[stage][1]()
    bad = good | {'gt': good['gt'].clone()}
    bad['gt'][0, 0, 5, 5] = math.nan
    step(model, good)
    nets = {name: getattr(model, name) for name in ('net_g', 'net_d', 'net_g_ema')}
    before = {name: weights(net) for name, net in nets.items() if name != 'net_g_ema'}
    step(model, bad, 2)
    step(model, bad, 3)
    model.save(0, 3)
    assert not (tmp_path / 'training_states').exists() and not (tmp_path / 'models').exists()
    for name, saved in before.items():
        learned = {key: value for key, value in saved.items() if not key.endswith(('weight_u', 'weight_v'))}
        assert same(learned, {key: nets[name].state_dict()[key] for key in learned}), name
    step(model, good, 4)  # resets the count
    model.save(0, 4)
    assert (tmp_path / 'training_states' / '4.state').exists()
    step(model, bad, 5)
    step(model, bad, 6)
    with pytest.raises(DivergenceError, match=r'after 3 consecutive iterations with non-finite l_g_.*\(iteration 7\)'):
        step(model, bad, 7)
    for name, net in nets.items():
        assert all(value.isfinite().all() for value in net.state_dict().values()), name


@pytest.mark.parametrize('stage', STAGES)
@pytest.mark.usefixtures('bf16_everywhere')
def test_bf16_trains_float32_weights_with_similar_losses(stage, tmp_path):
    batch = STAGES[stage][1]()
    full, low = (model_of(stage, tmp_path, 16, precision=name) for name in ('fp32', 'bf16'))
    assert same(full.net_g.state_dict(), low.net_g.state_dict())
    expected, got = step(full, batch), step(low, batch)
    assert expected != got
    for name, value in expected.items():
        assert got[name] == pytest.approx(value, rel=0.02, abs=0.01), name
    low.save(0, 1)
    for path in (tmp_path / 'models').iterdir():
        saved = torch.load(path, weights_only=True)
        assert {value.dtype for part in saved.values() for value in part.values()} == {torch.float32}, path.name
    # validation computes in float32
    low.net_g_ema.load_state_dict(full.net_g_ema.state_dict())
    for model in (full, low):
        model.feed_data(batch)
        model.test()
    outputs = [model.output.mean if stage == 'dsn' else model.output for model in (full, low)]
    torch.testing.assert_close(*outputs, rtol=0, atol=1e-5)


@pytest.mark.parametrize('stage', STAGES)
def test_channels_last_changes_the_layout_only(stage, tmp_path):
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


def test_optimizers_are_fused_by_default(tmp_path):
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
def test_resuming_in_another_memory_format(stage, tmp_path):
    batches = [STAGES[stage][1]() for _ in range(3)]
    uninterrupted = model_of(stage, tmp_path, channels_last=True)
    step(uninterrupted, batches[0])
    step(uninterrupted, batches[1], 2)
    uninterrupted.save(0, 2)
    step(uninterrupted, batches[2], 3)
    other = resumed(stage, tmp_path, 2, drop=('optimizer_steps',), channels_last=False)
    for optimizer in other.optimizers:
        for parameter, state in optimizer.state.items():
            assert state['exp_avg'].stride() == parameter.stride()
    step(other, batches[2], 3)
    assert largest_difference(uninterrupted.net_g, other.net_g) < 2e-5


def test_resuming_from_a_state_of_unfused_optimizers(tmp_path):
    """The optimizers of the saved state updated the weights in a loop (`foreach: false`)."""
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


def test_state_with_discriminator_requires_one(tmp_path):
    opt = srn_options(tmp_path)
    model = build_model(opt)
    step(model, generated_batch())
    model.save(0, 1)
    without = {key: value for key, value in opt.items() if key != 'network_d'}
    without['train'] = {key: value for key, value in opt['train'].items() if key not in ('gan_opt', 'optim_d')}
    with pytest.raises(InputError, match='got 2 optimizers in the training state, expected 1'):
        build_model(without).resume_training(torch.load(tmp_path / 'training_states' / '1.state', weights_only=True))


def test_training_settings_do_not_apply_to_testing(tmp_path):
    opt = dsn_options(tmp_path)
    build_model(opt | {'is_train': False, 'train': {'precision': 'tf32'}})


@pytest.mark.usefixtures('bf16_everywhere')
def test_bf16_without_the_perceptual_loss(tmp_path):
    """EMA and checkpoint contain the frozen feature head in float32."""
    model = model_of('dsn', tmp_path, 16, precision='bf16', perceptual_opt=None)
    step(model, unpaired_batch())
    model.save(0, 1)
    saved = torch.load(tmp_path / 'models' / 'net_g_1.pth', weights_only=True)
    assert saved['params_ema']['feature_head.0.weight'].dtype == torch.float32


def test_averaged_weights_use_the_decay(tmp_path):
    model = model_of('srn', tmp_path, ema_decay=0.75)
    before = weights(model.net_g_ema)
    assert same(before, model.net_g.state_dict())
    step(model, generated_batch())
    for name, value in model.net_g_ema.state_dict().items():
        torch.testing.assert_close(value, 0.75 * before[name] + 0.25 * model.net_g.state_dict()[name])
