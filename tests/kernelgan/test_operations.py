"""KernelGAN's operations agree with torch's, in values and gradients."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.utils import spectral_norm

from usrdu_basicsr.kernelgan.discriminator import PatchDiscriminators
from usrdu_basicsr.kernelgan.operations import EPSILON, Correlation, fold, pointwise_layers, unfold
from usrdu_basicsr.ops.kernels import correlate_each


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).requires_grad_()


def assert_same_with_gradients(got: Tensor, expected: Tensor, *inputs: Tensor) -> None:
    """Compare the values and the gradients of a weighted sum of them."""
    torch.testing.assert_close(got, expected, rtol=1e-10, atol=1e-10)
    uneven = torch.linspace(-1, 2, got.numel(), dtype=got.dtype).view_as(got)
    for grad, expected_grad in zip(
        torch.autograd.grad(got, inputs, uneven), torch.autograd.grad(expected, inputs, uneven), strict=True
    ):
        torch.testing.assert_close(grad, expected_grad, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(('size', 'shape'), [(1, (4, 5)), (3, (3, 7)), (7, (26, 20))])
def test_unfold_and_fold(size: int, shape: tuple[int, int]):
    x = random(2, 3, *shape)
    assert_same_with_gradients(unfold(x, size), F.unfold(x, size), x)
    patches = random(2, 3 * size**2, (shape[0] - size + 1) * (shape[1] - size + 1), seed=1)
    assert_same_with_gradients(fold(patches, size, shape), F.fold(patches, shape, size), patches)


@pytest.mark.parametrize(
    ('size', 'stride', 'shape'),
    [(13, 2, (64, 64)), (13, 2, (30, 27)), (7, 3, (33, 40)), (4, 1, (9, 12)), (1, 2, (6, 5))],
)
def test_correlation(size: int, stride: int, shape: tuple[int, int]):
    x = random(3, 2, *shape).detach()
    correlate = Correlation(x, size, stride)
    for seed in (1, 2):
        kernels = random(3, size, size, seed=seed)
        assert_same_with_gradients(correlate(kernels), correlate_each(x, kernels, stride), kernels)


def reference_layers(
    x: Tensor, first: Tensor, norm: Tensor, hidden: Tensor, last: Tensor, scales: Tensor, shifts: Tensor
) -> Tensor:
    runs = []
    for run in range(len(x)):
        y = x[run][None]
        for layer, weight in enumerate([first[run] / norm[run], *hidden[:, run]]):
            y = F.conv1d(y, weight[..., None])
            y = F.batch_norm(y, None, None, scales[layer, run], shifts[layer, run], training=True, eps=EPSILON).relu()
        runs.append(F.conv1d(y, last[run][..., None])[0])
    return torch.stack(runs)


@pytest.mark.parametrize('runs', [1, 3])
def test_pointwise_layers(runs: int):
    parts = {
        'x': random(runs, 10, 23, seed=1),
        'first': random(runs, 6, 10, seed=2),
        'norm': (random(runs, seed=3).detach().abs() + 0.5).requires_grad_(),
        'hidden': random(3, runs, 6, 6, seed=4),
        'last': random(runs, 1, 6, seed=5),
        'scales': random(4, runs, 6, seed=6),
        'shifts': random(4, runs, 6, seed=7),
    }
    inputs = list(parts.values())
    assert_same_with_gradients(pointwise_layers(**parts), reference_layers(**parts), *inputs)
    weights = [tensor.detach() for tensor in inputs[1:]]
    assert_same_with_gradients(pointwise_layers(inputs[0], *weights), reference_layers(inputs[0], *weights), inputs[0])
    assert_same_with_gradients(
        pointwise_layers(inputs[0].detach(), *inputs[1:]),
        reference_layers(inputs[0].detach(), *inputs[1:]),
        *inputs[1:],
    )


def test_spectral_norms_converge():
    """300 steps make the start of the power iteration irrelevant."""
    nets = PatchDiscriminators([torch.Generator().manual_seed(seed) for seed in (3, 4)]).double()
    norms = nets.weights(300).norms[-1].T  # (R, 6)
    for run in range(2):
        weights = [nets.first[run].flatten(1), *nets.hidden[:, run], nets.last[run]]
        first, second, *hidden = (torch.linalg.matrix_norm(weight, 2) for weight in weights)
        torch.testing.assert_close(norms[run], torch.stack([first * second, *hidden]), rtol=1e-3, atol=0)


def test_each_power_iteration_matches_torch():
    nets = PatchDiscriminators([torch.Generator().manual_seed(5)]).double()
    module = spectral_norm(torch.nn.Linear(64, 64, bias=False).double())
    module.weight_u.copy_(nets.u[2, 0])
    with torch.no_grad():
        nets.hidden[1, 0] = module.weight_orig
    norms = nets.weights(3).norms[:, 1, 0]
    for norm in norms:
        normalised = module(torch.eye(64, dtype=torch.float64)).T
        torch.testing.assert_close(module.weight_orig / norm, normalised, rtol=1e-10, atol=0)
    torch.testing.assert_close(nets.u[2, 0], module.weight_u)
    slope = torch.autograd.grad(norms[-1], nets.hidden)[0][1, 0]
    torch.testing.assert_close(slope, torch.outer(module.weight_u, module.weight_v), rtol=1e-9, atol=1e-12)
