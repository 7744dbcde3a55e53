"""Models of both stages: training steps, validation and checkpoints."""

import json
import math
from copy import deepcopy
from itertools import product
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from basicsr.data import build_dataloader, build_dataset
from basicsr.metrics import calculate_psnr
from basicsr.models import build_model
from basicsr.utils import get_root_logger
from basicsr.utils.registry import METRIC_REGISTRY
from scipy.ndimage import correlate
from torch.utils.data import default_collate

from sample_images import downsample_images, write_sample_images
from tiny_runs import DSN, dsn_options, generated_batch, paired_options, same, srn_options, unpaired_batch, weights
from usrdu_basicsr.data.kernel_set import read_kernel_set, write_kernel
from usrdu_basicsr.inference.generate_lr import generate_set
from usrdu_basicsr.ops.filters import high_pass
from usrdu_basicsr.ops.laplace import sample_laplace
from usrdu_basicsr.utils.errors import InputError, InputNotFoundError
from usrdu_basicsr.utils.pretrained_features import load_features


@pytest.fixture
def dsn_opt(tmp_path: Path) -> dict:
    return dsn_options(tmp_path)


@pytest.fixture
def srn_opt(tmp_path: Path) -> dict:
    return srn_options(tmp_path)


@pytest.mark.parametrize('stage', ['dsn', 'srn'])
@pytest.mark.parametrize('adversarial', [True, False])
def test_step_updates_both_networks_and_not_the_options(stage, adversarial, request):
    opt = request.getfixturevalue(f'{stage}_opt')
    if not adversarial:
        opt = {key: value for key, value in opt.items() if key != 'network_d'}
        opt['train'] = {k: v for k, v in opt['train'].items() if k not in ('gan_opt', 'optim_d')}
    model = build_model(opt)
    before = deepcopy(model.opt)
    g, d = weights(model.net_g), weights(model.net_d) if adversarial else {}
    model.feed_data(unpaired_batch() if stage == 'dsn' else generated_batch())
    model.optimize_parameters(1)
    assert not same(g, model.net_g.state_dict())
    assert not adversarial or not same(d, model.net_d.state_dict())
    assert model.opt == before == opt
    log = model.get_current_log()
    assert all(math.isfinite(value) for value in log.values())
    assert ('l_d_real' in log and 'l_g_gan' in log) == adversarial
    if adversarial:
        assert all(p.requires_grad for p in model.net_d.parameters())


@pytest.fixture
def kernel_opt(dsn_opt: dict, tmp_path: Path) -> dict:
    """Options of stage 1 with three kernels, one of which shifts images to a corner."""
    kernels = np.random.default_rng(0).dirichlet(np.ones(25), 3).reshape(3, 5, 5)
    kernels[2] = np.eye(5)[4][:, None] * np.eye(5)[4]
    for i, kernel in enumerate(kernels):
        write_kernel(tmp_path / 'kernels', str(i), kernel)
    train = {**dsn_opt['train'], 'target': 'kernel', 'kernels': str(tmp_path / 'kernels')}
    return dsn_opt | {'train': train, 'datasets': {'train': {'gt_size': 64}}}


def drawn_kernels(model, steps: range) -> list[list[int]]:
    """Index of the kernel with which each HR image was downsampled, in float without rounding, according to SciPy."""
    kernels = read_kernel_set(model.opt['train']['kernels'], 64)
    drawn = []
    for step in steps:
        model.begin_step(step)
        reference = model.reference()
        drawn.append([])
        for x, got in zip(model.gt, reference, strict=True):
            candidates = [np.stack([correlate(c, k)[::4, ::4] for c in x.numpy()]) for k in kernels]
            errors = [np.abs(candidate - got.numpy()).max() for candidate in candidates]
            assert min(errors) < 1e-6
            drawn[-1].append(int(np.argmin(errors)))
    return drawn


def test_each_patch_is_downsampled_with_a_kernel_of_the_set(kernel_opt):
    model = build_model(kernel_opt)
    model.feed_data({'gt': torch.rand(4, 3, 32, 32), 'lq': torch.rand(4, 3, 8, 8)})
    drawn = drawn_kernels(model, range(1, 20))
    assert {i for step in drawn for i in step} == {0, 1, 2}
    assert len(set(map(tuple, drawn))) > 10
    assert drawn == drawn_kernels(model, range(1, 20))  # a resumed run draws the same kernels
    other = build_model(kernel_opt | {'rank': 1})
    other.gt = model.gt
    assert drawn != drawn_kernels(other, range(1, 20))


def test_training_starts_from_the_kernel_of_a_measured_camera(kernel_opt, tmp_path):
    network = kernel_opt['network_g'] | {'residual': True, 'kernel_size': 33}
    for path in (tmp_path / 'kernels').iterdir():
        path.unlink()
    write_kernel(tmp_path / 'kernels', 'camera', np.random.default_rng(0).dirichlet(np.ones(33 * 33)).reshape(33, 33))
    model = build_model(kernel_opt | {'network_g': network, 'train': kernel_opt['train'] | {'ema_decay': 0.9}})
    model.feed_data({'gt': torch.rand(2, 3, 64, 64), 'lq': torch.rand(2, 3, 16, 16)})
    for net in (model.net_g, model.net_g_ema):
        torch.testing.assert_close(net(model.gt).mean, model.reference())
    model.optimize_parameters(1)
    assert torch.equal(model.net_g.base_kernel, model.net_g_ema.base_kernel)


def test_kernels_that_shift_images_are_reported(kernel_opt, monkeypatch, tmp_path):
    warnings = []
    monkeypatch.setattr(get_root_logger(), 'warning', warnings.append)
    build_model(kernel_opt)
    assert len(warnings) == 1 and 'SR results will be shifted' in warnings[0]
    for path in Path(kernel_opt['train']['kernels']).iterdir():
        path.unlink()
    write_kernel(Path(kernel_opt['train']['kernels']), 'even', np.full((4, 4), 1 / 16))
    build_model(kernel_opt | {'scale': 4})
    assert len(warnings) == 2 and '-2.00 HR pixels down and -2.00 right' in warnings[1]
    centred = np.zeros((9, 9))
    centred[5:7, 5:7] = 0.25  # 1.5 pixels past the middle tap, in the middle of 4x4 pixels
    write_kernel(Path(kernel_opt['train']['kernels']), 'even', centred)
    build_model(kernel_opt)
    assert len(warnings) == 2


def test_generator_loss_leaves_no_gradient_in_the_discriminator(srn_opt):
    model = build_model(srn_opt)
    model.net_d.requires_grad_(True)
    fake = torch.rand(1, 3, 16, 16, requires_grad=True)
    model.discriminator_step.generator_loss(fake).backward()
    assert fake.grad.abs().sum() > 0
    assert all(p.grad is None for p in model.net_d.parameters())


def test_ema_follows_the_generator(dsn_opt):
    model = build_model(dsn_opt)
    start = weights(model.net_g)
    assert same(start, model.net_g_ema.state_dict())
    model.feed_data(unpaired_batch())
    model.optimize_parameters(1)
    for name, value in model.net_g_ema.state_dict().items():
        torch.testing.assert_close(value, 0.9 * start[name] + 0.1 * model.net_g.state_dict()[name])


@pytest.mark.parametrize('gan_input', ['mean', 'sample'])
def test_discriminator_sees_means_or_samples(dsn_opt: dict, gan_input: str):
    model = build_model(dsn_opt | {'train': dsn_opt['train'] | {'gan_input': gan_input, 'high_pass_gain': 8}})
    model.feed_data(unpaired_batch())
    output = model._predict(model.gt)
    torch.manual_seed(4)
    seen = model._gan_input(output)
    torch.manual_seed(4)
    expected = output.mean if gan_input == 'mean' else sample_laplace(output.mean, output.log_scale)
    torch.testing.assert_close(seen, high_pass(expected, gain=8))
    model.discriminator_step.generator_loss(seen).backward()
    learns = model.net_g.log_scale_head[4].weight.grad is not None
    assert learns is (gan_input == 'sample')
    assert model.net_g.conv_mean.weight.grad.abs().max() > 0


def test_noise_depends_on_the_seed(srn_opt):
    def sampled(seed: int, step: int) -> torch.Tensor:
        model = build_model(srn_opt | {'manual_seed': seed})
        model.feed_data(batch)
        model.begin_step(step)
        return model.training_lq()

    batch = generated_batch()
    assert torch.equal(sampled(1, 1), sampled(1, 1))
    assert not torch.equal(sampled(1, 1), sampled(2, 1))
    assert not torch.equal(sampled(1, 1), sampled(1, 2))


def test_lr_images_without_log_scale_are_used_unchanged(srn_opt):
    model = build_model(srn_opt)
    model.feed_data(generated_batch())
    batch = unpaired_batch()
    model.feed_data(batch)  # the log-scales of the previous batch are cleared
    assert torch.equal(model.training_lq(), batch['lq'])


@pytest.mark.parametrize(('paths', 'tested'), [({}, 'params_ema'), ({'param_key_g': 'params'}, 'params')])
def test_a_test_uses_the_weights_of_the_validation(dsn_file: Path, dsn_opt: dict, paths: dict, tested: str):
    """BasicSR's default would be `params`, but validation, generation and inference use the averaged weights."""
    saved = torch.load(dsn_file, weights_only=True)
    assert not same(saved['params'], saved['params_ema'])
    paths = dsn_opt['path'] | {'pretrain_network_g': str(dsn_file)} | paths
    opt = {key: value for key, value in dsn_opt.items() if key not in ('train', 'network_d', 'logger')}
    model = build_model(opt | {'is_train': False, 'path': paths})
    assert same(model.net_g.state_dict(), saved[tested])


@pytest.fixture
def dsn_file(tmp_path: Path, dsn_opt: dict) -> Path:
    model = build_model(dsn_opt)
    model.feed_data(unpaired_batch())
    model.optimize_parameters(1)
    model.save(0, 1)
    return tmp_path / 'models' / 'net_g_1.pth'


def test_dsn_on_the_fly_equals_generated_set(srn_opt, dsn_file, tmp_path):
    """Also at the borders of an image, for every flip and rotation."""
    write_sample_images(tmp_path / 'hr', 2, 82, 97)
    generate_set(tmp_path / 'hr', tmp_path / 'set', dsn_file, torch.device('cpu'))
    dataset = {
        'name': 'hr',
        'type': 'HRImageDataset',
        'phase': 'train',
        'scale': 4,
        'dataroot_gt': str(tmp_path / 'hr'),
        'gt_size': 16,
        'margin': 24,
        'use_hflip': True,
        'use_rot': True,
    }
    paths = srn_opt['path'] | {'pretrain_network_dsn': str(dsn_file)}
    model = build_model(srn_opt | {'network_dsn': DSN, 'path': paths, 'datasets': {'train': dataset}})
    dsn = model.net_dsn
    state = torch.load(dsn_file, weights_only=True)
    assert same(dsn.state_dict(), state['params_ema']) and not same(state['params'], state['params_ema'])
    assert dsn.receptive_radius <= dataset['margin']

    images = build_dataset(dataset)
    items = [images[index % 2] for index in range(64)]
    model.feed_data(default_collate(items))
    model.predict_pair()
    found = set()
    for item, gt, lq, log_scale in zip(items, model.gt, model.lq, model.log_scale, strict=True):
        name = Path(item['gt_path']).stem
        full_gt = cv2.imread(item['gt_path'])[..., ::-1] / np.float32(255)
        full_lq = cv2.imread(str(tmp_path / 'set' / 'lr' / f'{name}.png'))[..., ::-1] / np.float32(255)
        full_log_scale = np.load(tmp_path / 'set' / 'log_scale' / f'{name}.npy')
        assert full_lq.shape == full_log_scale.shape == (20, 24, 3)
        patches = {}
        for top, left in np.ndindex(20 - 3, 24 - 3):
            patch = full_gt[top * 4 : top * 4 + 16, left * 4 : left * 4 + 16]
            patches[top, left] = patch.sum()
        *_, hflip, vflip, transpose = item['crop'].tolist()
        position = min(patches, key=lambda key: abs(patches[key] - gt.sum().item()))
        top, left = position
        found.add((top in (0, 16), left in (0, 20), hflip, vflip, transpose))
        for got, full, scale, tolerance in (
            *((gt, full_gt, 4, 1e-6), (lq, full_lq, 1, 1e-6)),
            (log_scale, full_log_scale.astype(np.float32), 1, 1e-3),  # stored as float16
        ):
            patch = full[top * scale :, left * scale :][: 4 * scale, : 4 * scale]
            patch = patch[:, ::-1] if hflip else patch
            patch = patch[::-1] if vflip else patch
            patch = patch.transpose(1, 0, 2) if transpose else patch
            np.testing.assert_allclose(got.permute(1, 2, 0).numpy(), patch, atol=tolerance)
    assert {case[2:] for case in found} == set(product((0, 1), repeat=3))
    assert any(case[0] for case in found) and any(case[1] for case in found)

    model.feed_data(default_collate(items[:2]))
    before = weights(dsn)
    model.optimize_parameters(3)
    assert not model.lq.requires_grad and model.gt.shape == (2, 3, 16, 16)
    assert same(before, dsn.state_dict()) and all(p.grad is None for p in dsn.parameters())
    model.save(0, 3)
    saved = torch.load(tmp_path / 'models' / 'net_g_3.pth', weights_only=True)
    assert set(saved) == {'params', 'params_ema'}
    assert set(saved['params']) == set(model.net_g.state_dict())
    assert not list((tmp_path / 'models').glob('net_dsn*'))


def loader(opt: dict):
    return build_dataloader(build_dataset(opt), opt)


@pytest.fixture
def pairs(tmp_path: Path) -> dict:
    write_sample_images(tmp_path / 'hr', 2)
    downsample_images(tmp_path / 'hr', tmp_path / 'real')
    return paired_options(tmp_path)


def test_validation_of_stage_1_on_pairs(dsn_opt, pairs, tmp_path):
    model = build_model(dsn_opt)
    model.validation(loader(pairs), 7, None, True)
    psnrs, nlls = [], []
    for name in ('astronaut', 'chelsea'):
        hr = torch.from_numpy(cv2.imread(str(tmp_path / 'hr' / f'{name}.png'))[..., ::-1].copy())
        real = cv2.imread(str(tmp_path / 'real' / f'{name}.png'))
        with torch.no_grad():
            out = model.net_g_ema(hr.permute(2, 0, 1)[None] / 255)
        mean = (out.mean.clamp(0, 1) * 255).round()
        written = cv2.imread(str(tmp_path / 'visualization' / name / f'{name}_7.png'))
        np.testing.assert_array_equal(written[..., ::-1], mean[0].permute(1, 2, 0).numpy())
        heat = cv2.imread(str(tmp_path / 'visualization' / name / f'{name}_7_uncertainty.png'))
        assert heat.shape == real.shape and heat.std() > 0
        psnrs.append(calculate_psnr(written, real, 0))
        target = torch.from_numpy(real[..., ::-1].copy()).permute(2, 0, 1)[None].double()
        nlls.append(
            -torch.distributions.Laplace(mean.double(), out.log_scale.double().exp()).log_prob(target).mean().item()
        )
    assert model.metric_results['psnr'] == pytest.approx(np.mean(psnrs))
    assert model.metric_results['nll'] == pytest.approx(np.mean(nlls))
    assert model.best_metric_results['pairs']['nll'] == {
        'better': 'lower',
        'val': pytest.approx(np.mean(nlls)),
        'iter': 7,
    }


def test_validation_of_stage_1_without_pairs(dsn_opt, pairs, tmp_path):
    model = build_model(dsn_opt)
    model.validation(loader(pairs | {'type': 'HRImageDataset'}), 7, None, True)
    assert not hasattr(model, 'metric_results')
    written = sorted(path.name for path in (tmp_path / 'visualization').rglob('*.png'))
    assert written == [f'{name}_7{kind}.png' for name in ('astronaut', 'chelsea') for kind in ('', '_uncertainty')]
    assert model.net_g.training


def test_metrics_of_other_types(srn_opt, pairs, monkeypatch, tmp_path):
    """Metrics may return any number type and ask for the device; those that lack an input are omitted."""

    def calculate_brightness(img: np.ndarray, **kwargs: object) -> np.float32:
        return img.astype(np.float32).mean()

    devices = []

    def calculate_on_device(img: np.ndarray, img2: np.ndarray, device: torch.device, better: str = 'higher') -> int:
        devices.append(device)
        return 1

    for metric in (calculate_brightness, calculate_on_device):
        monkeypatch.setitem(METRIC_REGISTRY._obj_map, metric.__name__, metric)
    metrics = srn_opt['val']['metrics'] | {
        'brightness': {'type': 'calculate_brightness'},
        'on_device': {'type': 'calculate_on_device', 'better': 'lower'},
    }
    model = build_model(srn_opt | {'val': {'metrics': metrics}})
    without_truth = pairs | {'type': 'SingleImageDataset', 'name': 'no_gt'}
    model.feed_data(generated_batch())  # its ground truth must not be used in the validation
    model.optimize_parameters(1)
    for dataset in (pairs, without_truth):
        model.validation(loader(dataset), 5, None, False)
    lines = [json.loads(line) for line in (tmp_path / 'log' / 'validation.jsonl').read_text().splitlines()]
    assert [sorted(line['metrics']) for line in lines] == [['brightness', 'on_device', 'psnr'], ['brightness']]
    assert devices == [model.device] * len(loader(pairs))
    assert lines[0]['metrics']['brightness'] == lines[1]['metrics']['brightness']


def test_empty_validation_set_is_rejected(srn_opt, pairs):
    data = loader(pairs)
    empty = SimpleNamespace(dataset=torch.utils.data.Subset(data.dataset, []))
    empty.dataset.opt = pairs
    with pytest.raises(InputError, match="validation set 'pairs' is empty"):
        build_model(srn_opt).validation(empty, 5, None, False)


def test_validation_of_stage_2(srn_opt, pairs):
    model = build_model(srn_opt)
    model.validation(loader(pairs), 7, None, False)
    assert 0 < model.metric_results['psnr'] < 60
    model.feed_data(generated_batch())  # training continues
    model.optimize_parameters(8)


def test_images_of_several_validation_sets(srn_opt, pairs, tmp_path):
    srn_opt['datasets'] = {'train': {}, 'val': pairs, 'val_2': pairs | {'name': 'others'}}
    model = build_model(srn_opt)
    for dataset in (pairs, srn_opt['datasets']['val_2']):
        model.validation(loader(dataset), 5, None, True)
    written = {str(path.relative_to(tmp_path / 'visualization')) for path in tmp_path.rglob('*_5.png')}
    assert written == {f'{name}/{n}/{n}_5.png' for name in ('pairs', 'others') for n in ('astronaut', 'chelsea')}


def test_gray_images_in_tensorboard(srn_opt, pairs):
    shown: dict[str, np.ndarray] = {}
    logger = SimpleNamespace(
        add_image=lambda name, image, step, dataformats: shown.update({name: image}), add_scalar=lambda *_: None
    )
    srn_opt['network_g'] = {'type': 'SRVGGNetCompact', 'num_in_ch': 1, 'num_out_ch': 1, 'num_feat': 4, 'num_conv': 1}
    del srn_opt['network_d'], srn_opt['train']['gan_opt'], srn_opt['train']['optim_d']
    srn_opt['train']['perceptual_opt'] = None
    build_model(srn_opt).validation(loader(pairs | {'color': 'y'}), 5, logger, False)
    assert {image.shape[2] for image in shown.values()} == {1} and 'pairs/result' in shown


def test_resuming_gives_the_same_weights(srn_opt, tmp_path):
    batches = [generated_batch() for _ in range(4)]

    def train(model, steps):
        for step in steps:
            model.update_learning_rate(step)
            model.feed_data(batches[step - 1])
            model.optimize_parameters(step)

    uninterrupted = build_model(srn_opt)
    start = weights(uninterrupted.net_g), weights(uninterrupted.net_d)
    train(uninterrupted, [1, 2])
    uninterrupted.save(0, 2)
    train(uninterrupted, [3, 4])

    paths = {f'pretrain_network_{net}': str(tmp_path / 'models' / f'net_{net}_2.pth') for net in 'gd'}
    resumed = build_model(srn_opt | {'path': srn_opt['path'] | paths})
    assert not same(start[0], resumed.net_g.state_dict())
    resumed.resume_training(torch.load(tmp_path / 'training_states' / '2.state', weights_only=True))
    train(resumed, [3, 4])
    for net in ('net_g', 'net_g_ema', 'net_d'):
        assert same(getattr(uninterrupted, net).state_dict(), getattr(resumed, net).state_dict()), net
    assert resumed.get_current_learning_rate() == [5e-4]


def test_failed_write_ends_the_run_and_keeps_the_previous_file(srn_opt, tmp_path, monkeypatch):
    model = build_model({key: value for key, value in srn_opt.items() if key != 'network_d'})
    model.save(0, -1)
    path = tmp_path / 'models' / 'net_g_latest.pth'
    before = path.read_bytes()

    def full(content, file):
        file.write(b'half')
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(torch, 'save', full)
    with pytest.raises(OSError, match='No space left'):
        model.save(0, -1)
    assert path.read_bytes() == before
    assert [p.name for p in path.parent.iterdir()] == ['net_g_latest.pth']


@pytest.mark.parametrize(
    ('content', 'error', 'message'),
    [
        (None, InputNotFoundError, "checkpoint '.*net.pth' does not exist"),
        (b'', InputError, 'corrupt or not a checkpoint'),
        (b'PK\x03\x04 cut short', InputError, 'corrupt or not a checkpoint'),
        ([1, 2], InputError, 'got list'),
        ({'epoch': 1}, InputError, "contains no network 'params'"),
        (
            {'params': {'body.0.weight': torch.zeros(8, 3, 3, 3)}},
            InputError,
            r'does not fit SRVGGNetCompact: \d+ missing',
        ),
    ],
)
def test_invalid_checkpoint_is_rejected(srn_opt, tmp_path, content, error, message):
    path = tmp_path / 'net.pth'
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        torch.save(content, path)
    with pytest.raises(error, match=message):
        build_model(srn_opt | {'path': srn_opt['path'] | {'pretrain_network_g': str(path)}})


def test_pickled_code_is_not_executed(srn_opt, tmp_path):
    class Attack:
        def __reduce__(self):
            return Path.touch, (tmp_path / 'attacked',)

    torch.save({'params': Attack()}, tmp_path / 'net.pth')
    with pytest.raises(InputError, match='corrupt or not a checkpoint'):
        build_model(srn_opt | {'path': srn_opt['path'] | {'pretrain_network_g': str(tmp_path / 'net.pth')}})
    with pytest.raises(InputError, match='corrupt or not a checkpoint'):
        load_features('vgg16', str(tmp_path / 'net.pth'))
    assert not (tmp_path / 'attacked').exists()


def test_partial_loading_if_not_strict(srn_opt, tmp_path):
    donor = build_model(srn_opt).net_g.state_dict()
    del donor['body.4.bias']
    torch.save({'params': {f'module.{name}': value for name, value in donor.items()}}, tmp_path / 'net.pth')
    paths = {'pretrain_network_g': str(tmp_path / 'net.pth'), 'strict_load_g': False}
    model = build_model(srn_opt | {'path': srn_opt['path'] | paths})
    assert same(donor, {k: v for k, v in model.net_g.state_dict().items() if k in donor})
    train = srn_opt['train'] | {'ema_decay': 0.9}
    model = build_model(srn_opt | {'path': srn_opt['path'] | paths, 'train': train})
    assert same(model.net_g.state_dict(), model.net_g_ema.state_dict())
