"""Networks, filters, losses and training steps, compared with results of the published implementation."""

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
import yaml
from basicsr.models import build_model
from basicsr.utils.options import ordered_yaml

import published
from published import image, relative_error
from usrdu_basicsr.archs.dsn_arch import UncertaintyDSN
from usrdu_basicsr.data.kernel_set import write_kernel
from usrdu_basicsr.losses.uncertainty_loss import LaplaceKLLoss
from usrdu_basicsr.ops.filters import gradient_image, high_pass, low_pass
from usrdu_basicsr.ops.resize import bicubic_downsample

SINGLE = 1e-4  # relative error of single values
TRAINED = 1e-3  # relative error of outputs after training


@pytest.fixture(scope='module')
def dsn_vectors():
    return published.vectors('dsn')


@pytest.fixture(scope='module')
def srn_vectors():
    return published.vectors('srn')


def test_filters_and_bicubic(dsn_vectors, srn_vectors):
    hr, sr_hr = image(1, 2, 128, 128), image(11, 2, 128, 128)
    assert relative_error(bicubic_downsample(hr, 4), dsn_vectors['bicubic_x4']) < SINGLE
    assert relative_error(high_pass(hr), dsn_vectors['high_pass_5_zero_pad']) < SINGLE
    assert relative_error(low_pass(hr), dsn_vectors['low_pass_5_valid']) < SINGLE
    assert relative_error(low_pass(sr_hr, 9, padding=True), srn_vectors['low_hr']) < SINGLE
    assert relative_error(gradient_image(sr_hr), srn_vectors['grad_hr']) < SINGLE


def test_kl_value(dsn_vectors):
    target = bicubic_downsample(image(304, 2, 128, 128), 4)
    loss = LaplaceKLLoss()(image(302, 2, 32, 32), target, 3 * image(303, 2, 32, 32) - 0.9)
    assert relative_error(loss, dsn_vectors['kl_value']) < SINGLE


@pytest.fixture(scope='module')
def vgg19_weights(tmp_path_factory):
    with torch.device('meta'):
        features = torchvision.models.vgg19(weights=None).features[:35]
    path = tmp_path_factory.mktemp('weights') / 'vgg19.pth'
    torch.save({f'features.{name}': value for name, value in published.vgg_state(features).items()}, path)
    return path


def shipped_options(name: str) -> dict:
    """Options of a shipped recipe, as completed by BasicSR's launcher on a CPU."""
    path = Path(__file__).parents[1] / 'options' / name
    opt = yaml.load(path.read_text(), Loader=ordered_yaml()[0])
    opt['path'] = {}
    return opt | {'num_gpu': 0, 'dist': False, 'rank': 0, 'world_size': 1, 'is_train': True}


@pytest.mark.slow
@pytest.mark.parametrize('track', [1, 2])
def test_three_steps_of_stage_1(track, dsn_vectors, vgg19_weights, tmp_path, monkeypatch):
    opt = shipped_options(f'track{track}/train_dsn.yml')
    opt['train']['perceptual_opt']['weights'] = str(vgg19_weights)
    target = 'kernel_' if track == 2 else ''
    if track == 2:
        opt['train']['kernels'] = str(tmp_path)
        write_kernel(tmp_path, 'delta', np.ones((1, 1)))
        # the input of the published run was already downsampled
        monkeypatch.setattr('usrdu_basicsr.models.dsn_model.kernel_downsample', lambda *_: image(3, 2, 32, 32))
    model = build_model(opt)
    published.load_generator(model.net_g, published.dsn_name)
    published.load_discriminator(model.net_d)
    scores = []
    model.net_d.register_forward_hook(lambda net, args, out: scores.append(out.detach().sigmoid().mean().item()))

    hr, lr = image(1, 2, 128, 128), image(2, 2, 32, 32)
    with torch.no_grad():
        before = model.net_g(hr)
    for step in range(3):
        model.feed_data({'gt': hr, 'lq': lr})
        model.optimize_parameters(step + 1)
        log = model.get_current_log()
        d_fake, d_real = scores[-3:-1]
        losses = [log['l_g_gan'], log['l_g_kl'], log['l_g_percep']]
        got = [log['l_d_fake'] + log['l_d_real'], d_fake, d_real, *losses, sum(losses)]
        for value, expected in zip(got, dsn_vectors[f'{target}logs'][step], strict=True):
            assert relative_error(value, expected) < SINGLE
    with torch.no_grad():
        after = model.net_g(hr)
    for name, first, last in zip(('mean', 'logb', 'per_logb'), before, after, strict=True):
        assert relative_error(first, dsn_vectors[name]) < SINGLE
        assert relative_error(last, dsn_vectors[f'{target}{name}_after']) < TRAINED


def fixed_noise(units: np.ndarray):
    """Stand-in for `Tensor.exponential_`: successive samples differ by the unit Laplace noise of the published run."""
    draws = itertools.cycle([np.clip(units, 0, None), np.clip(-units, 0, None)])
    return lambda tensor, generator=None: tensor.copy_(torch.from_numpy(next(draws)))


def test_three_steps_of_stage_2(srn_vectors, monkeypatch):
    def vgg19(**_):
        with torch.device('meta'):
            net = torchvision.models.VGG(torchvision.models.vgg.make_layers(torchvision.models.vgg.cfgs['E']))
        net.features.load_state_dict(published.vgg_state(net.features), assign=True)
        return net

    # BasicSR's perceptual loss has no option for a weights file
    monkeypatch.setattr('basicsr.archs.vgg_arch.vgg.vgg19', vgg19)
    opt = shipped_options('track1/train_srn.yml')
    opt['network_g'].update(num_feat=16, num_block=2, num_grow_ch=8)  # sizes of the networks in `vectors`
    opt['network_d'].update(num_feat=16)
    model = build_model(opt)
    published.load_generator(model.net_g, published.rrdb_name)
    published.load_discriminator(model.net_d)

    monkeypatch.setattr(torch.Tensor, 'exponential_', fixed_noise(srn_vectors['noise_units']))
    hr = image(11, 2, 128, 128)
    batch = {'gt': hr, 'lq': image(12, 2, 32, 32), 'log_scale': torch.from_numpy(srn_vectors['logb'])}
    names = ['l_g_pix', 'l_g_low', 'l_g_percep', 'l_g_gan', 'l_d_real', 'l_d_fake', 'out_d_real', 'out_d_fake']
    for step in range(3):
        model.feed_data(batch)
        if step == 0:
            assert relative_error(model.infer(model.training_lq()), srn_vectors['sr_before']) < SINGLE
        model.optimize_parameters(step + 1)
        assert relative_error(model.lq, srn_vectors['lr_sampled']) < SINGLE
        log = model.get_current_log()
        for name, expected in zip(names, srn_vectors['logs'][step], strict=True):
            assert relative_error(log[name], expected) < SINGLE, name
    with torch.no_grad():
        assert relative_error(model.net_g(model.lq), srn_vectors['sr_after']) < TRAINED
        assert relative_error(model.net_d(gradient_image(hr)), srn_vectors['d_after']) < TRAINED


def test_dsn_log_scale_of_stage_2(srn_vectors):
    net = published.load_generator(UncertaintyDSN(), published.dsn_name)
    with torch.no_grad():
        log_scale = net(image(11, 2, 128, 128), with_features=False).log_scale
    assert relative_error(log_scale, srn_vectors['logb']) < SINGLE
