"""Formulas, each compared with a second implementation."""

import numpy as np
import pytest
import torch
from basicsr.utils.matlab_functions import imresize
from scipy import ndimage
from scipy.optimize import minimize_scalar
from skimage import data

from usrdu_basicsr.ops.filters import gaussian_window, gradient_image, high_pass, low_pass
from usrdu_basicsr.ops.laplace import laplace_nll, sample_laplace, uncertainty_term
from usrdu_basicsr.ops.noise import noise_level
from usrdu_basicsr.ops.resize import bicubic_downsample
from usrdu_basicsr.utils.seed import derive_seed


def sample_image(height: int, width: int) -> torch.Tensor:
    return torch.from_numpy(data.astronaut()[:height, :width]).permute(2, 0, 1)[None].double() / 255


@pytest.mark.parametrize('kernel_size', [1, 3, 5, 9])
def test_low_pass_equals_scipy(kernel_size: int):
    x = sample_image(40, 56)
    margin = kernel_size // 2
    expected = ndimage.gaussian_filter(
        x.numpy()[0], (0, kernel_size / 6, kernel_size / 6), mode='constant', radius=(0, margin, margin)
    )
    got = low_pass(x, kernel_size, padding=True)[0].numpy()
    np.testing.assert_allclose(got, expected, atol=1e-12)
    inside = slice(margin, -margin or None)
    np.testing.assert_allclose(low_pass(x, kernel_size)[0].numpy(), expected[:, inside, inside], atol=1e-12)


def test_high_pass_of_a_constant_image_is_mid_gray_inside():
    flat = torch.full((1, 3, 16, 16), 0.7)
    assert torch.allclose(high_pass(flat)[..., 2:-2, 2:-2], torch.tensor(0.5))


def test_window_cached_in_inference_mode_is_usable_in_training():
    gaussian_window.cache_clear()
    x = torch.rand(1, 3, 8, 8, requires_grad=True)
    with torch.inference_mode():
        low_pass(x)
    low_pass(x).sum().backward()
    assert x.grad is not None


def test_noise_level_of_known_noise():
    generator = torch.Generator().manual_seed(0)
    flat = torch.full((2, 3, 128, 128), 0.5)
    noisy = flat + torch.tensor([0.02, 0.05]).view(2, 1, 1, 1) * torch.randn(flat.shape, generator=generator)
    torch.testing.assert_close(noise_level(noisy), torch.tensor([0.02, 0.05]), rtol=0.02, atol=0)
    assert noise_level(torch.linspace(0, 1, 64).expand(1, 3, 64, 64)) < 1e-6


@pytest.mark.parametrize('kernel_size', [0, 2, 4])
def test_even_kernel_sizes_are_refused(kernel_size: int):
    with pytest.raises(ValueError, match=f'kernel_size: got {kernel_size}, expected a positive odd integer'):
        gaussian_window(kernel_size, torch.float32, torch.device('cpu'))


@pytest.mark.parametrize('scale', [1, 2, 3, 4])
@pytest.mark.parametrize('size', [(48, 60), (12, 24)])
def test_bicubic_equals_matlab_imresize(scale: int, size: tuple[int, int]):
    x = sample_image(*size).float()
    expected = imresize(x[0], 1 / scale) if scale > 1 else x[0]
    torch.testing.assert_close(bicubic_downsample(x, scale)[0], expected, atol=1e-6, rtol=0)


def test_bicubic_of_images_smaller_than_the_margin():
    x = torch.full((1, 1, 4, 4), 0.3)
    torch.testing.assert_close(bicubic_downsample(x, 4), torch.full((1, 1, 1, 1), 0.3))


def test_bicubic_refuses_sizes_that_are_no_multiple_of_the_scale():
    with pytest.raises(ValueError, match='30x32 is not a multiple of scale 4'):
        bicubic_downsample(torch.zeros(1, 3, 30, 32), 4)


def test_gradient_image_of_a_small_example():
    x = torch.tensor([[[[0.0, 1.0, 3.0], [2.0, 2.0, 2.0]]]])
    assert gradient_image(x).tolist() == [[[[1 + 2, 2 + 1, 0 + 1], [0, 0, 0]]]]


@pytest.mark.parametrize(('distance', 'best'), [(0, 1.00), (1, 1.24), (5, 2.48), (20, 6.13), (100, 20.86)])
def test_scale_that_minimises_the_uncertainty_term(distance: float, best: float):
    def term(log_scale: float) -> float:
        return uncertainty_term(torch.tensor(float(distance)), torch.tensor(log_scale, dtype=torch.float64)).item()

    minimum = np.exp(minimize_scalar(term, bounds=(-2, 5), method='bounded').x)
    assert minimum == pytest.approx(best, abs=0.006)


def test_uncertainty_term_equals_the_divergence():
    """The KL divergence by numerical integration equals u plus the term."""
    u, b = 3.0, 2.0
    x = np.linspace(-200, 200, 2_000_001)
    p, q = np.exp(-np.abs(x - u) / b) / (2 * b), np.exp(-np.abs(x)) / 2
    divergence = np.trapezoid(p * (np.log(p) - np.log(q)), x)
    term = uncertainty_term(torch.tensor(u), torch.tensor(b).log()).item()
    assert u + term == pytest.approx(divergence, rel=1e-5)


def test_likelihood_equals_torch():
    mean, value, scale = torch.rand(3, 50).double()
    expected = -torch.distributions.Laplace(mean, scale).log_prob(value)
    torch.testing.assert_close(laplace_nll((value - mean).abs(), scale.log()), expected)


def test_samples_have_the_moments_of_the_laplace_distribution():
    count, b, mean = 1_000_000, 3.0, 0.4
    log_scale = torch.full((count,), b).log()
    x = sample_laplace(torch.full((count,), mean), log_scale, torch.Generator().manual_seed(1))
    noise = (x - mean).double() * 255
    # Standard errors: of the mean sqrt(2) b / 1000, of E|x| b / 1000, of the 4th moment (24 b^4) sqrt(39744) b^4 / 1000
    assert abs(noise.mean()) < 5 * 2**0.5 * b / 1000
    assert abs(noise.abs().mean() - b) < 5 * b / 1000
    assert abs((noise**4).mean() - 24 * b**4) < 5 * 39744**0.5 * b**4 / 1000
    assert torch.isfinite(x).all()


def test_derived_seeds_do_not_repeat():
    keys = [(seed, rank, step) for seed in range(10) for rank in range(10) for step in range(10)]
    assert len({derive_seed(*key) for key in keys}) == 1000
    assert derive_seed(7, 0, 1) == derive_seed(7, 0, 1) != derive_seed(7, 1, 0)
    assert all(0 <= derive_seed(*key) < 2**32 for key in keys)
