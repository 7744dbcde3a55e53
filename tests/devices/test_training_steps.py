"""Training steps on each device: equal to those in float32 on the CPU; loss scaling, random numbers, resuming."""

from pathlib import Path

import numpy as np
import pytest
import torch
from basicsr.models import build_model

from tiny_runs import DSN, STAGES, dsn_options, model_of, same, srn_options, step, unpaired_batch, weights
from usrdu_basicsr.archs.dsn_arch import UncertaintyDSN
from usrdu_basicsr.data.kernel_set import read_kernel_set, write_kernel
from usrdu_basicsr.models.base_model import USRDUBaseModel
from usrdu_basicsr.ops.kernels import kernel_downsample
from usrdu_basicsr.utils import precision as precision_module
from usrdu_basicsr.utils.errors import DivergenceError

CUDA = pytest.mark.cuda
LOW_SCALE = 2.0**10  # at PyTorch's 2^16 the first gradients may overflow
# Relative difference of gradients; about twice what CPUs show for bf16, and three times for fp16
TOLERANCES = {'fp32': 1e-3, 'tf32': 3e-2, 'bf16': 0.12, 'fp16': 3e-2}
SETTINGS = [
    ('cpu', {'precision': 'bf16', 'channels_last': True}),
    ('cpu', {'precision': 'fp16'}),
    *(pytest.param('cuda', {'precision': name}, marks=CUDA) for name in TOLERANCES),
    pytest.param('cuda', {'channels_last': True}, marks=CUDA),
    pytest.param('cuda', {'precision': 'bf16', 'channels_last': True}, marks=CUDA),
    pytest.param('cuda', {'precision': 'fp16', 'channels_last': True, 'grad_clip': 1e6}, marks=CUDA),
    pytest.param('cuda', {'accum_iter': 2}, marks=CUDA),
]


@pytest.fixture(autouse=True)
def all_precisions_on_the_cpu(monkeypatch: pytest.MonkeyPatch):
    """Allow fp16 and bf16 on every CPU. They are slow there, but computed as on a GPU."""
    unsupported = precision_module._unsupported_reason
    monkeypatch.setattr(
        precision_module, '_unsupported_reason', lambda name, on: None if on.type == 'cpu' else unsupported(name, on)
    )


def fixed_batch(stage: str) -> dict[str, torch.Tensor]:
    """Batch without log-scales, because the noise that they scale differs between devices."""
    return {name: value for name, value in STAGES[stage][1]().items() if name != 'log_scale'}


def model_on(device: torch.device | str, stage: str, folder: Path, loss_scale: float = LOW_SCALE, **train: object):
    """Model with convolutions wide enough for 16 bits; `loss_scale` has an effect in fp16 only."""
    model = model_of(stage, folder, 16, num_gpu=int(torch.device(device).type == 'cuda'), **train)
    for optimizer_step in model.optimizer_steps:
        optimizer_step.load_state_dict(optimizer_step.scaler.state_dict() | {'scale': loss_scale})
    return model


def gradients(model: USRDUBaseModel) -> list[torch.Tensor]:
    """Gradients of each network in the only step so far, from the moving averages of Adam."""
    averages = [[state['exp_avg'] for state in optimizer.state.values()] for optimizer in model.optimizers]
    return [torch.cat([value.flatten() for value in values]).cpu() / 0.1 for values in averages]


def flat_weights(net: torch.nn.Module) -> torch.Tensor:
    return torch.cat([value.flatten() for value in net.state_dict().values()])


def relative_difference(got: torch.Tensor, expected: torch.Tensor) -> float:
    return ((got - expected).norm() / expected.norm()).item()


@pytest.mark.parametrize('stage', STAGES)
@pytest.mark.parametrize(('device', 'settings'), SETTINGS)
def test_step_equals_one_in_float32_on_the_cpu(device: str, settings: dict, stage: str, tmp_path: Path):
    reference, model = model_on('cpu', stage, tmp_path), model_on(device, stage, tmp_path, **settings)
    if 'accum_iter' in settings:
        for each in (reference, model):
            each.net_d.eval()  # the spectral norms advance with each forward pass
    batch, tolerance = fixed_batch(stage), TOLERANCES[settings.get('precision', 'fp32')]
    expected, got = step(reference, batch), step(model, batch)
    assert list(got) == list(expected)
    for name, value in expected.items():
        assert got[name] == pytest.approx(value, rel=tolerance, abs=1e-6), name
    for one, other in zip(gradients(model), gradients(reference), strict=True):
        assert relative_difference(one, other) < tolerance
    assert {value.device.type for value in model.net_g.state_dict().values()} == {device}
    # validation computes in float32 with the averaged weights
    reference.net_g_ema.load_state_dict(model.net_g_ema.state_dict())
    for each in (reference, model):
        each.feed_data(batch)
        each.test()
    tolerance = 5e-3 if settings.get('precision') == 'tf32' else 1e-4
    for name, value in model.get_current_visuals().items():
        torch.testing.assert_close(value, reference.get_current_visuals()[name], rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize('stage', STAGES)
def test_overflow_in_fp16_halves_the_loss_scale_and_skips_the_update(device, stage: str, tmp_path: Path):
    model = model_on(device, stage, tmp_path, loss_scale=2.0**60, precision='fp16')
    before = weights(model.net_g)
    step(model, fixed_batch(stage))
    assert same(before, model.net_g.state_dict())
    for optimizer_step in model.optimizer_steps:
        assert optimizer_step.scaler.get_scale() == 2.0**59 and not optimizer_step.nonfinite
    assert model.nonfinite_guard.last_nonfinite() == []  # a lower scale may avoid it
    for optimizer_step in model.optimizer_steps:
        optimizer_step.scaler.update(LOW_SCALE)
    step(model, fixed_batch(stage), 2)
    assert not same(before, model.net_g.state_dict())
    assert all(optimizer_step.scaler.get_scale() == LOW_SCALE for optimizer_step in model.optimizer_steps)


@pytest.mark.parametrize('stage', STAGES)
def test_repeated_non_finite_losses_stop_the_training(device: torch.device, stage: str, tmp_path: Path):
    """On a GPU the counts of a step are checked in a later one."""
    model = model_on(device, stage, tmp_path, max_nonfinite_iters=3)
    batch = fixed_batch(stage)
    step(model, batch)
    before = weights(model.net_g)
    batch['gt'][0, 0, 5, 5] = float('nan')
    last_iter = {'cpu': 4, 'cuda': 5}[device.type]
    with pytest.raises(DivergenceError, match=rf'after 3 consecutive .* non-finite l_g_.*\(iteration {last_iter}\)'):
        for current_iter in range(2, 10):
            step(model, batch, current_iter)
            if device.type == 'cuda':
                torch.cuda.synchronize()
    assert same(before, model.net_g.state_dict())


def test_sampled_noise_depends_on_the_iteration(device: torch.device, tmp_path: Path):
    opt = srn_options(tmp_path) | {'num_gpu': int(device.type == 'cuda')}
    model = build_model(opt)
    log_scale = torch.full((4, 3, 64, 64), 2.0)
    model.feed_data({'gt': torch.rand(4, 3, 256, 256), 'lq': torch.rand(4, 3, 64, 64), 'log_scale': log_scale})
    samples = []
    for current_iter in (1, 1, 2):
        model.begin_step(current_iter)
        samples.append(model.training_lq())
    assert torch.equal(samples[0], samples[1]) and not torch.equal(samples[0], samples[2])
    noise = (samples[0] - model.lq) * 255 / np.exp(2)
    assert noise.mean().item() == pytest.approx(0, abs=0.03)  # unit Laplace distribution: 49,152 samples
    assert noise.abs().mean().item() == pytest.approx(1, abs=0.03)
    assert noise.square().mean().item() == pytest.approx(2, abs=0.15)


@pytest.mark.parametrize(
    ('device', 'settings', 'tolerance'),
    [
        ('cpu', {'precision': 'bf16', 'channels_last': True}, 0.02),
        pytest.param('cuda', {}, 1e-3, marks=CUDA),
        pytest.param('cuda', {'precision': 'bf16', 'channels_last': True}, 0.02, marks=CUDA),
    ],
)
def test_dsn_on_the_fly_equals_float32_on_the_cpu(device: str, settings: dict, tolerance: float, tmp_path: Path):
    torch.save({'params': UncertaintyDSN(num_feat=8, num_block=1).state_dict()}, tmp_path / 'dsn.pth')
    batch = {'gt': torch.rand(2, 3, 64, 64), 'crop': torch.tensor([[6, 6, 0, 0, 0], [5, 7, 1, 0, 1]])}
    models = []
    for on, train in (('cpu', {}), (device, settings)):
        opt = srn_options(tmp_path) | {'num_gpu': int(on == 'cuda'), 'network_dsn': DSN}
        opt |= {'datasets': {'train': {'gt_size': 16}}, 'train': opt['train'] | train}
        opt['path'] = opt['path'] | {'pretrain_network_dsn': str(tmp_path / 'dsn.pth')}
        models.append(build_model(opt))
        models[-1].feed_data({name: value.clone() for name, value in batch.items()})
        models[-1].predict_pair()
    reference, model = models
    assert model.gt.device.type == device and torch.equal(model.gt.cpu(), reference.gt)
    assert (model.lq.cpu() - reference.lq).abs().max() < 1.5 / 255  # a gray level, where rounding differs
    torch.testing.assert_close(model.log_scale.cpu(), reference.log_scale, rtol=tolerance, atol=tolerance)
    assert np.isfinite(list(step(model, batch).values())).all()


def test_reference_by_a_drawn_kernel(device: torch.device, tmp_path: Path):
    for i, kernel in enumerate(np.random.default_rng(0).dirichlet(np.ones(25), 3).reshape(3, 5, 5)):
        write_kernel(tmp_path / 'kernels', str(i), kernel)
    opt = dsn_options(tmp_path) | {'num_gpu': int(device.type == 'cuda'), 'datasets': {'train': {'gt_size': 64}}}
    opt['train'] |= {'target': 'kernel', 'kernels': str(tmp_path / 'kernels')}
    model = build_model(opt)
    batch = unpaired_batch()
    model.feed_data(batch)
    kernels = torch.from_numpy(read_kernel_set(opt['train']['kernels'], 64))
    drawn = set()
    for current_iter in range(8):
        model.begin_step(current_iter)
        for x, got in zip(batch['gt'], model.reference().cpu(), strict=True):
            candidates = kernel_downsample(x.expand(3, -1, -1, -1), kernels, 4)
            errors = (candidates - got).abs().amax((1, 2, 3))
            assert errors.min() < 1e-5
            drawn.add(errors.argmin().item())
    assert drawn == {0, 1, 2}


@pytest.mark.slow
@pytest.mark.parametrize('stage', STAGES)
@pytest.mark.parametrize('settings', [{}, {'precision': 'bf16', 'channels_last': True}, {'precision': 'fp16'}])
def test_resumed_training_equals_an_uninterrupted_one(device, stage: str, settings: dict, tmp_path: Path):
    torch.use_deterministic_algorithms(True, warn_only=True)
    batches = [STAGES[stage][1]() for _ in range(4)]
    model = model_on(device, stage, tmp_path, **settings)
    for current_iter, batch in enumerate(batches[:2], 1):
        step(model, batch, current_iter)
    model.save(0, 2)
    after_two = flat_weights(model.net_g)
    opt = model.opt
    paths = {f'pretrain_network_{net}': str(tmp_path / 'models' / f'net_{net}_2.pth') for net in 'gd'}
    other = build_model(opt | {'path': opt['path'] | paths})
    other.resume_training(torch.load(tmp_path / 'training_states' / '2.state', weights_only=True))
    for current_iter, batch in enumerate(batches[2:], 3):
        assert step(model, batch, current_iter) == pytest.approx(step(other, batch, current_iter), rel=1e-5, abs=1e-7)
    for net in ('net_g', 'net_g_ema', 'net_d'):
        one, two = (flat_weights(getattr(each, net)) for each in (model, other))
        assert (one - two).abs().max() < 2e-5, net
    # the steps after resuming are larger than the tolerance
    assert (flat_weights(model.net_g) - after_two).abs().max() > 5e-4
    for one, two in zip(model.optimizer_steps, other.optimizer_steps, strict=True):
        assert one.state_dict() == two.state_dict()
