"""Losses: gradients against finite differences, values against a second formula, and sources of VGG weights."""

import pytest
import torch
import torchvision
from basicsr.losses import build_loss
from torch.nn import functional as F

from usrdu_basicsr.losses.low_frequency_loss import LowFrequencyLoss
from usrdu_basicsr.losses.uncertainty_loss import LaplaceKLLoss, UncertaintyPerceptualLoss
from usrdu_basicsr.losses.vgg_features import VGGFeatures
from usrdu_basicsr.ops.filters import low_pass
from usrdu_basicsr.utils.errors import InputError, InputNotFoundError


def test_gradient_of_the_pixel_loss():
    pred, target = torch.rand(2, 1, 3, 7, 7, dtype=torch.float64)
    log_scale = torch.rand(1, 3, 7, 7, dtype=torch.float64) * 3 - 1
    loss = LaplaceKLLoss(loss_weight=255)
    assert torch.autograd.gradcheck(
        lambda p, s: loss(p, target, s), (pred.requires_grad_(), log_scale.requires_grad_()), eps=1e-7
    )


def test_gradient_of_the_perceptual_loss():
    loss = UncertaintyPerceptualLoss(255, vgg_type='vgg11', layer='conv2_1', weights='random').double()
    pred, target = torch.rand(2, 1, 3, 4, 4, dtype=torch.float64)
    log_scale = torch.rand(1, 128, 2, 2, dtype=torch.float64)
    assert torch.autograd.gradcheck(
        lambda p, s: loss(p, target, s), (pred.requires_grad_(), log_scale.requires_grad_()), eps=1e-7
    )


def test_pixel_loss_equals_the_formula():
    pred, target, log_scale = torch.rand(3, 2, 3, 12, 12, dtype=torch.float64)
    b, u = log_scale.exp(), 255 * (pred - target).abs()
    first = 255 * (low_pass(pred) - low_pass(target)).abs().mean()
    expected = 100 * (first + (b * torch.exp(-u / b) - b.log() - 1).mean()) / 255
    torch.testing.assert_close(
        build_loss({'type': 'LaplaceKLLoss', 'loss_weight': 100})(pred, target, log_scale), expected
    )


def test_low_frequency_loss_equals_l1_of_low_passes():
    x = torch.rand(1, 3, 20, 20)
    assert LowFrequencyLoss()(x, x) == 0
    expected = 0.5 * F.l1_loss(low_pass(x, 9, True), low_pass(1 - x, 9, True))
    torch.testing.assert_close(LowFrequencyLoss(0.5)(x, 1 - x), expected)


def test_target_and_vgg_receive_no_gradient():
    loss = UncertaintyPerceptualLoss(weights='random')
    pred, target = (torch.rand(1, 3, 32, 32, requires_grad=True) for _ in range(2))
    log_scale = torch.zeros(1, 512, 2, 2, requires_grad=True)
    loss(pred, target, log_scale).backward()
    assert pred.grad is not None and log_scale.grad is not None and target.grad is None
    assert all(p.grad is None for p in loss.parameters())


def test_mismatched_feature_log_scale_is_refused():
    loss = UncertaintyPerceptualLoss(vgg_type='vgg11', layer='conv2_1', weights='random')
    with pytest.raises(ValueError, match=r'\(1, 512, 1, 1\), expected that of the features \(1, 128, 8, 8\)'):
        loss(*torch.rand(2, 1, 3, 16, 16), torch.zeros(1, 512, 1, 1))


def test_random_vgg_is_seeded_and_keeps_the_random_state():
    state = torch.get_rng_state()
    first, second = (VGGFeatures('vgg11', 'conv2_1', 'random').state_dict() for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert torch.equal(state, torch.get_rng_state())


def test_vgg_from_a_half_precision_file(tmp_path):
    vgg = torchvision.models.vgg
    features = vgg.make_layers(vgg.cfgs['A'])  # of vgg11, without the large classifier
    weights = {f'features.{name}': value.half() for name, value in features.state_dict().items()}
    torch.save(weights, tmp_path / 'vgg.pth')
    x = torch.rand(1, 3, 16, 16)
    got = VGGFeatures('vgg11', 'relu3_2', str(tmp_path / 'vgg.pth'))(x)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    with torch.no_grad():
        expected = features.half().float()[:10]((x - mean.view(3, 1, 1)) / std.view(3, 1, 1))
    torch.testing.assert_close(got, expected)
    assert got.dtype == torch.float32


@pytest.mark.parametrize(
    ('arguments', 'error', 'message'),
    [
        (('vgg12', 'conv5_4', 'random'), InputError, "vgg_type: got 'vgg12'"),
        (('vgg16', 'conv5_4', 'random'), InputError, "layer: got 'conv5_4', expected a layer of vgg16"),
        (('vgg19', 'conv5_4', 'missing.pth'), InputNotFoundError, "file 'missing.pth' does not exist"),
    ],
)
def test_invalid_vgg_settings(arguments, error, message):
    with pytest.raises(error, match=message):
        VGGFeatures(*arguments)


def test_vgg_weights_of_another_network(tmp_path):
    torch.save({'features.0.weight': torch.zeros(64, 3, 3, 3)}, tmp_path / 'other.pth')
    with pytest.raises(InputError, match=r'does not fit vgg11: features\.0\.bias is missing or of another shape'):
        VGGFeatures('vgg11', 'conv2_1', str(tmp_path / 'other.pth'))
