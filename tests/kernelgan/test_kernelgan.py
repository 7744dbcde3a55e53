"""KernelGAN agrees with the published values and with its layers; results do not depend on the batch."""

import numpy as np
import pytest
import torch
from scipy.ndimage import correlate
from scipy.signal import convolve2d
from torch import Tensor, nn
from torch.nn import functional as F

import published
from layered_kernelgan import LayeredKernelGAN
from published import image, relative_error, seeded_tensor
from sample_images import sample_image
from usrdu_basicsr.kernelgan import training
from usrdu_basicsr.kernelgan.constraints import LossWeights, boundary_mask, constraint_losses
from usrdu_basicsr.kernelgan.crops import SourceImages, centre_probability, draw_corners, gradient_strength, trim
from usrdu_basicsr.kernelgan.discriminator import PatchDiscriminators
from usrdu_basicsr.kernelgan.generator import KernelGenerators
from usrdu_basicsr.kernelgan.postprocess import (
    axis_spreads,
    consensus,
    has_collapsed,
    post_process,
    remove_negligible,
    x2_to_x4_kernel,
)
from usrdu_basicsr.kernelgan.training import KernelGANs, train_kernels
from usrdu_basicsr.ops.kernels import centre_of_mass, correlate_each, kernel_downsample
from usrdu_basicsr.ops.resize import bicubic_downsample

CPU = torch.device('cpu')
FLOAT32 = 1e-4
# Difference after 40 iterations between float32 runs that differ only in the order of summation, such as the published
# layers on one and on two threads
CHAOS = 5e-3


@pytest.fixture(scope='module')
def vectors():
    return published.vectors('kernelgan')


def published_gans(dtype: torch.dtype) -> KernelGANs:
    """One run with the published test weights. Biases before batch normalisation have no effect and are omitted."""
    gans = KernelGANs([0], CPU)
    names = ['first_layer', *(f'feature_block.{i}' for i in range(4)), 'final_layer']
    with torch.no_grad():
        for name, weight in zip(names, gans.generators.weights.values(), strict=True):
            weight[0] = seeded_tensor(f'KG.{name}.weight', weight.shape[1:])
            if name.endswith('layer'):
                weight.abs_()
        nets = gans.discriminators
        nets.first[0] = seeded_tensor('KD.first_layer.weight_orig', nets.first.shape[1:])
        nets.u[0, 0] = F.normalize(seeded_tensor('KD.first_layer.weight_u', (64,)), dim=0)
        for i in range(5):
            name = f'KD.feature_block.{3 * i}.weight'
            nets.hidden[i, 0] = seeded_tensor(f'{name}_orig', (64, 64, 1, 1)).flatten(1)
            nets.u[1 + i, 0] = F.normalize(seeded_tensor(f'{name}_u', (64,)), dim=0)
            nets.norm_weight[i, 0] = 1 + seeded_tensor(f'KD.feature_block.{3 * i + 1}.weight', (64,))
            nets.norm_bias[i, 0] = seeded_tensor(f'KD.feature_block.{3 * i + 1}.bias', (64,))
        nets.last[0] = seeded_tensor('KD.final_layer.0.weight_orig', (1, 64, 1, 1)).flatten(1)
        nets.last_bias[0] = seeded_tensor('KD.final_layer.0.bias', (1,))
    gans.generators.to(dtype)
    gans.discriminators.to(dtype)
    gans.mask = gans.mask.to(dtype)
    gans.kernels = gans.generators()
    return gans


def published_crops(iteration: int, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    g_crop = (image(100 + iteration, 1, 64, 64) * 2 - 1).to(dtype)
    # The published loss compares each colour channel with the sum of all three.
    target = bicubic_downsample(g_crop, 2)[..., 3:-3, 3:-3].sum(1, keepdim=True)
    return g_crop, target, (image(1100 + iteration, 1, 26, 26) * 2 - 1).to(dtype)


def test_40_iterations_match_published_values(vectors):
    gans = published_gans(torch.float32)
    for i, (bicubic, *weights) in enumerate(vectors['log']):
        assert [gans.weights.bicubic.item(), gans.weights.centre.item(), gans.weights.sparse.item()] == weights
        loss = gans.step(*published_crops(i, torch.float32))['bicubic'].item()
        assert relative_error(loss, bicubic) < (FLOAT32 if i < 8 else CHAOS)
    assert relative_error(gans.kernels[0].detach(), vectors['effective_kernel']) < CHAOS


@pytest.mark.slow
def test_training_matches_layered_implementation():
    gans = published_gans(torch.float64)
    layers = LayeredKernelGAN(gans)
    for i in range(10):
        weights = (5, 0, 0) if i < 5 else (0.05, 1, 5)
        for name, weight in zip(('bicubic', 'centre', 'sparse'), weights, strict=True):
            getattr(gans.weights, name).fill_(weight)
        crops, noise = published_crops(i, torch.float64), torch.randn(1, 3, 26, 26, dtype=torch.float64) / 255
        loss = gans.step(*crops, noise)['bicubic'].item()
        assert layers.step(*crops, noise, weights).item() == pytest.approx(loss, rel=1e-8)
    assert relative_error(gans.kernels[0].detach(), layers.kernel().detach().numpy()) < 1e-8


def test_post_processing_matches_published_values(vectors):
    assert relative_error(post_process(vectors['raw_kernel']), vectors['post_processed']) < FLOAT32
    assert relative_error(x2_to_x4_kernel(vectors['post_processed']), vectors['analytic_x4']) < FLOAT32


def test_kernel_downsampling_matches_published_values(vectors):
    x = image(vectors['down_image_seed'].item(), 1, 96, 120)
    got = kernel_downsample(x, torch.from_numpy(vectors['down_kernel']).float()[None], 4)
    assert relative_error(got[0].permute(1, 2, 0), vectors['down']) < FLOAT32


@pytest.mark.parametrize('scale', [1, 2, 4])
@pytest.mark.parametrize('size', [1, 5, 31])
def test_each_image_is_downsampled_with_its_own_kernel(scale: int, size: int):
    x, kernels = torch.rand(3, 2, 24, 16, dtype=torch.float64), torch.rand(3, size, size, dtype=torch.float64)
    got = kernel_downsample(x, kernels, scale)
    for n in range(3):
        for c in range(2):
            np.testing.assert_allclose(got[n, c], correlate(x[n, c].numpy(), kernels[n].numpy())[::scale, ::scale])


@pytest.mark.parametrize(
    ('shape', 'size', 'message'), [((3, 9, 8), 3, 'image size 9x8'), ((3, 8, 8), 4, 'with an odd k')]
)
def test_kernel_downsampling_rejects_invalid_shapes(shape: tuple, size: int, message: str):
    with pytest.raises(ValueError, match=message):
        kernel_downsample(torch.rand(1, *shape), torch.rand(1, size, size), 4)


def streams(count: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed) for seed in range(count)]


def test_composed_kernel_equals_the_layers():
    generators = KernelGenerators(streams(2)).double()
    x = torch.rand(2, 3, 64, 40, dtype=torch.float64)
    got = correlate_each(x, generators(), 2)
    for run in range(2):
        y = x[run][:, None]
        *layers, last = (weight[run] for weight in generators.weights.values())
        for layer in layers:
            y = F.conv2d(y, layer)
        torch.testing.assert_close(got[run], F.conv2d(y, last, stride=2)[:, 0], rtol=1e-9, atol=1e-18)


def test_initial_weights():
    """The generator has Xavier weights with gain 0.1, the discriminator the default weights of its convolutions."""
    generators, discriminators = KernelGenerators(streams(20)), PatchDiscriminators(streams(20))
    for weight, fans in ((generators.weights['layer1'], 49 + 64 * 49), (generators.weights['layer2'], 2 * 64 * 25)):
        assert weight.std().item() == pytest.approx(0.1 * (2 / fans) ** 0.5, rel=0.02)
        assert not torch.equal(weight[0], weight[1])
    for weight, fan_in, std in (
        (discriminators.first, 147, 0.0476),
        (discriminators.hidden.transpose(0, 1), 64, 0.0722),
        (discriminators.last, 64, 0.0722),
    ):
        default = nn.Conv2d(fan_in, 5000, 1).weight
        assert weight.std().item() == pytest.approx(std, rel=0.03)
        assert weight.std().item() == pytest.approx(default.std().item(), rel=0.03)
        assert weight.abs().max().item() == pytest.approx(default.abs().max().item(), rel=0.01)
        assert not torch.equal(weight[0], weight[1])
    for by_layer in (discriminators.norm_weight, discriminators.u):
        assert not torch.equal(by_layer[:, 0], by_layer[:, 1])
    assert discriminators.norm_weight.mean().item() == pytest.approx(1, abs=0.001)
    assert discriminators.norm_weight.std().item() == pytest.approx(0.02, rel=0.05)
    assert not discriminators.norm_bias.any() and not discriminators.last_bias.any()


def test_initial_weights_of_a_run_do_not_depend_on_the_batch():
    alone, batch = PatchDiscriminators(streams(3)[2:]), PatchDiscriminators(streams(3))
    assert torch.equal(alone.first[0], batch.first[2]) and torch.equal(alone.last[0], batch.last[2])
    for name in ('hidden', 'norm_weight'):
        assert torch.equal(getattr(alone, name)[:, 0], getattr(batch, name)[:, 2])
    torch.testing.assert_close(alone.u[:, 0], batch.u[:, 2])


def test_spectral_norm_starts_after_one_power_iteration():
    """In the mean of a random square weight W, |W' u|^2 then is 5/2 times as large as for a random vector u."""
    discriminators = PatchDiscriminators(streams(20))
    squares = (discriminators.u[1:, :, None] @ discriminators.hidden).square().sum((2, 3))
    random = discriminators.hidden.square().sum((2, 3)) / 64
    assert (squares / random).mean().item() == pytest.approx(2.5, rel=0.1)


def test_constraint_losses_closed_form():
    kernels = torch.zeros(2, 13, 13)
    kernels[0, 6, 6], kernels[0, 7, 7] = 0.25, 0.25
    kernels[1, 0, 12] = 2
    losses = constraint_losses(kernels, boundary_mask(CPU))
    corner = 30 * (1 - np.exp(-0.5 * (6**2 + 6**2) / 13**2))
    expected = {
        'sum': [0.5, 1],
        'boundary': [0, 2 * corner / 169],
        'centre': [0, (6.5**2 + 5.5**2) / 2],
        'sparse': [(2 * 0.25**0.2 + 167 * 1e-4) / 169, (2**0.2 + 168 * 1e-4) / 169],
    }
    for name, values in expected.items():
        torch.testing.assert_close(losses[name], torch.tensor(values, dtype=torch.float32), rtol=1e-5, atol=1e-7)


def test_zero_taps_have_finite_gradients():
    kernels = torch.zeros(1, 13, 13, requires_grad=True)
    constraint_losses(kernels, boundary_mask(CPU))['sparse'].sum().backward()
    assert torch.isfinite(kernels.grad).all()


def test_loss_weight_schedule():
    """Run 0 is close to bicubic from the start, run 1 after iteration 300, run 2 never three times in a row."""
    weights = LossWeights(3, CPU)
    recorded = {}
    for iteration in range(1001):
        weights.update(
            iteration,
            torch.tensor([0.1, 0.1 if iteration > 300 else 0.5, 0.5 if iteration % 3 else 0.1]),
            torch.zeros(3),
        )
        recorded[iteration] = torch.stack([weights.bicubic, weights.centre, weights.sparse], 1).tolist()
    assert recorded[199] == [[5, 0, 0]] * 3
    for iteration, expected in {
        200: ([0.05, 0, 0], [5, 0, 0]),
        400: ([5e-4, 1, 5], [0.05, 0, 0]),
        600: ([5e-6, 1, 5], [5e-4, 1, 5]),
        1000: ([5e-6, 1, 5], [5e-6, 1, 5]),
    }.items():
        assert recorded[iteration][0] == pytest.approx(expected[0])
        assert recorded[iteration][1] == pytest.approx(expected[1])
        assert recorded[iteration][2] == [5, 0, 0]


def test_schedule_needs_three_close_iterations_after_iteration_0():
    for start, relaxed in ((197, True), (198, False)):  # the third close iteration is 199 or 200
        weights = LossWeights(1, CPU)
        for iteration in range(201):
            weights.update(
                iteration, torch.tensor([0.1 if iteration >= start or iteration == 0 else 1.0]), torch.zeros(1)
            )
        assert (weights.bicubic.item() < 5) == relaxed


def test_collapsed_kernel_is_not_relaxed():
    weights = LossWeights(3, CPU)
    for iteration in range(401):
        weights.update(iteration, torch.full((3,), 0.1), torch.tensor([1.0, 0.7 if iteration < 300 else 0.1, 0.4]))
    assert weights.bicubic.tolist() == pytest.approx([5, 0.05, 5e-4])


def test_crops_follow_gradients():
    gray = np.zeros((120, 160))
    gray[40:60, 100:] = 1
    strength = gradient_strength(gray)
    assert strength.mean() == pytest.approx(1)
    assert strength[30:70, 95:].sum() == pytest.approx(strength.sum())
    probability = centre_probability(strength, 26)
    assert probability.sum() == pytest.approx(1) and probability.min() == 0
    assert not probability[:13].any() and not probability[-13:].any() and not probability[:, -13:].any()
    corners = draw_corners(probability, 26, 500, np.random.default_rng(0))
    assert not (corners % 2).any()
    top, left = corners.T
    assert top.min() >= 0 and left.max() <= 160 - 26
    assert ((top < 65) & (top + 26 > 35) & (left + 26 > 90)).all()


@pytest.mark.parametrize('crop', [26, 64])
@pytest.mark.parametrize('name', ['astronaut', 'rocket'])
def test_crop_probability_equals_its_formula(name: str, crop: int):
    """The formula in sorted values and convolutions instead of partitions and box filters."""

    def inside(values: np.ndarray, margin: int) -> np.ndarray:
        rows, columns = np.indices(values.shape)
        height, width = values.shape
        fits = (rows >= margin) & (rows < height - margin) & (columns >= margin) & (columns < width - margin)
        return np.where(fits, values, 0)

    def strongest(gradient: np.ndarray) -> np.ndarray:
        ordered = np.sort(gradient.ravel())
        low, high = ordered[int(0.97 * gradient.size)], ordered[int(0.97 * gradient.size) + 1]
        assert high > low
        return np.minimum(np.maximum(gradient, low), high) - low

    def box(values: np.ndarray, side: int) -> np.ndarray:
        return convolve2d(values, np.ones((side, side)), 'same') / side**2

    gray = sample_image(name, 150, 133).astype(np.float64) @ [0.114, 0.587, 0.299] / 255
    vertical, horizontal = np.gradient(gray)
    magnitude = inside(np.sqrt(horizontal**2 + vertical**2), 5)
    parts = [magnitude, *(strongest(inside(np.abs(one), 5)) for one in (horizontal, vertical))]
    expected = box(sum(part / part.sum() for part in parts), 5)
    expected /= expected.mean()
    np.testing.assert_allclose(gradient_strength(gray), expected, rtol=1e-9, atol=1e-12)

    expected = inside(box(expected, crop // 2), crop // 2)
    got = centre_probability(gradient_strength(gray), crop)
    np.testing.assert_allclose(got, expected / expected.sum(), rtol=1e-9, atol=1e-15)


def test_only_gradients_above_tied_percentile_count():
    """100 horizontal gradients are 0.4 and 100 are 0.2, so the 97th percentile and the next value are both 0.2."""
    gray = np.zeros((60, 60))
    gray[:, 20:], gray[:, 40:] = 0.4, 1.2
    strength = gradient_strength(gray)[30]
    assert strength[40] / strength[20] == pytest.approx((2 / 3 + 1) / (1 / 3))  # share of the magnitude, and the rest


def test_flat_image_has_uniform_crop_probability():
    strength = gradient_strength(np.full((90, 90), 0.3))
    np.testing.assert_array_equal(strength, 1)
    probability = centre_probability(strength, 26)
    assert np.ptp(probability[30:-30, 30:-30]) == pytest.approx(0, abs=1e-12)


def test_crops_match_their_corners():
    sizes = [(100, 131), (97, 120)]
    images = [sample_image('astronaut', *size)[..., ::-1].astype(np.float32) / 255 for size in sizes]
    sources = SourceImages(images, CPU)
    g_corners, d_corners = np.array([[[2, 4], [0, 6], [10, 14]]]), np.array([[[30, 40], [8, 2], [50, 72]]])
    indices = [0, 1, 0]
    g_crop, target, d_crop = next(sources.cut(indices, g_corners, d_corners))
    for run, index in enumerate(indices):
        image = torch.from_numpy(trim(images[index]).transpose(2, 0, 1).copy())
        top, left = g_corners[0, run]
        crop = image[:, top : top + 64, left : left + 64] * 2 - 1
        torch.testing.assert_close(g_crop[run], crop)
        downsampled = bicubic_downsample(crop[None], 2)[0, :, 3:-3, 3:-3]
        torch.testing.assert_close(target[run], downsampled, rtol=1e-5, atol=1e-5)
        top, left = d_corners[0, run]
        torch.testing.assert_close(d_crop[run], image[:, top : top + 26, left : left + 26])


def test_trimming():
    assert trim(np.zeros((85, 90, 3))).shape == (64, 70, 3)
    with pytest.raises(ValueError, match='too small for KernelGAN: got 83x90 pixels, expected sides >= 84'):
        trim(np.zeros((83, 90, 3)))


@pytest.fixture(scope='module')
def small_images() -> list[np.ndarray]:
    sizes = {'astronaut': (100, 96), 'chelsea': (84, 120), 'coffee': (97, 91), 'rocket': (88, 88)}
    return [sample_image(name, *size)[..., ::-1].astype(np.float32) / 255 for name, size in sizes.items()]


def train(images: list[np.ndarray], indices: list[int], iterations: int) -> np.ndarray:
    sources = SourceImages([images[i] for i in indices], CPU)
    return train_kernels(sources, range(len(indices)), [70 + i for i in indices], CPU, iterations)[0]


class AllConstraints(LossWeights):
    """Weights late in the schedule, with all losses."""

    def __init__(self, runs: int, device: torch.device) -> None:
        super().__init__(runs, device)
        self.centre += 1
        self.sparse += 5


@pytest.mark.slow
@pytest.mark.parametrize('weights', [LossWeights, AllConstraints])
def test_kernel_does_not_depend_on_the_batch(small_images, weights: type, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(training, 'LossWeights', weights)
    batch = train(small_images, [0, 1, 2, 3], 40)
    for i in range(4):
        single = train(small_images, [i], 40)
        assert single.shape == (1, 13, 13)
        assert relative_error(single[0], batch[i]) < 1e-5
    permuted = train(small_images, [3, 1, 2], 40)
    assert relative_error(permuted, batch[[3, 1, 2]]) < 1e-5


def test_seed_determines_the_run(small_images):
    sources = SourceImages(small_images[:1], CPU)
    kernels, losses = train_kernels(sources, [0, 0, 0], [1, 2, 1], CPU, 20)
    np.testing.assert_array_equal(kernels[0], kernels[2])
    assert relative_error(kernels[1], kernels[0]) > 0.1
    assert set(losses) == {'gan', 'bicubic', 'sum', 'boundary', 'centre', 'sparse', 'discriminator'}
    assert all(values.shape == (3,) for values in losses.values())


def test_training_does_not_modify_images(small_images):
    before = small_images[0].copy()
    train(small_images, [0], 2)
    np.testing.assert_array_equal(small_images[0], before)


def test_learning_rate_decay():
    gans = KernelGANs([0, 1], CPU)
    crops = [torch.rand(2, 3, side, side) for side in (64, 26, 26)]
    for scheduler in gans.schedulers:
        scheduler.last_epoch = 748
    rates = []
    for _ in range(2):
        gans.step(*crops)
        rates.append([optimiser.param_groups[0]['lr'] for optimiser in gans.optimisers])
    np.testing.assert_allclose(rates, [[2e-4, 2e-4], [2e-5, 2e-5]])


def test_noise_of_one_gray_level(monkeypatch):
    """Noise is added in [0, 1] to real crops and in [-1, 1] to generated images, and is new in each iteration."""
    seen = []

    def record(self, g_crop, target, real, fake_noise):
        seen.append((real, fake_noise))
        return {}

    monkeypatch.setattr(KernelGANs, 'step', record)
    flat = [np.full((90, 90, 3), 0.5, np.float32)] * 2
    train_kernels(SourceImages(flat, CPU), [0, 1], [3, 4], CPU, 60)
    real, fake = (torch.stack(one) for one in zip(*seen, strict=True))
    assert real.mean().item() == pytest.approx(0, abs=1e-4)
    assert real.std().item() == pytest.approx(2 / 255, rel=0.02)
    assert fake.std().item() == pytest.approx(1 / 255, rel=0.02)
    for noise in (real.flatten(2), fake.flatten(2)):
        flat = noise.transpose(0, 1).flatten(0, 1)
        assert torch.corrcoef(flat).fill_diagonal_(0).abs().max() < 0.15  # 4,056 values each
    assert abs(torch.corrcoef(torch.stack([real.flatten(), fake.flatten()]))[0, 1]) < 0.02


def test_generator_crops_follow_the_downsampled_image():
    """Stripes of a period of 3 pixels have the strongest gradients, but vanish in the downsampled image."""
    image = np.full((120, 200, 3), 0.5, np.float32)
    image[:, :80] += 0.3 * (np.indices((120, 80)).sum(0) % 3 == 0)[..., None] - 0.1
    image[20:100:8, 130:190] += 0.1
    image[21:100:8, 130:190] += 0.1
    sources = SourceImages([image], CPU)
    for probabilities, left_half in ((sources.g_probabilities, False), (sources.d_probabilities, True)):
        assert (probabilities[0][:, :80].sum() > 0.5) == left_half


def test_unusable_kernels_are_rejected():
    for kernel in (np.full((13, 13), np.nan), np.zeros((13, 13)), -np.ones((13, 13))):
        with pytest.raises(ValueError, match='no finite, positive taps'):
            post_process(kernel)


def test_collapsed_runs_are_detected():
    sums = {1.0: False, 0.6: False, 1.4: False, 0.0: True, 1.7: True, -1.0: True, np.nan: True}
    assert {total: has_collapsed(np.full((13, 13), total / 169)) for total in sums} == sums
    with pytest.raises(ValueError, match='all 2 runs collapsed'):
        consensus(np.zeros((2, 13, 13)))


def test_negligible_taps_are_removed():
    kernel = np.zeros((13, 13))
    kernel.flat[:41] = np.arange(41, 0, -1) + 3
    kept = remove_negligible(kernel)
    assert (kept.ravel()[:41] > 0).all() and not kept.ravel()[41:].any()
    assert kept[0, 0] / kept[0, 1] == pytest.approx((44 - 3) / (43 - 3))


def test_kernels_are_centred_between_pixels():
    y, x = np.mgrid[:13, :13]
    kernel = np.exp(-((y - 5) ** 2 + (x - 7.3) ** 2) / 4)
    result = torch.from_numpy(post_process(kernel))[None]
    torch.testing.assert_close(
        centre_of_mass(result)[0], torch.full((2,), result.shape[1] // 2 + 0.5).double(), atol=0.02, rtol=0
    )
    quadruple = torch.from_numpy(x2_to_x4_kernel(result[0].numpy()))[None]
    middle = quadruple.shape[1] // 2 + 1.5  # of the 4x4 pixels that become one
    torch.testing.assert_close(centre_of_mass(quadruple)[0], torch.full((2,), middle).double(), atol=0.06, rtol=0)


def test_x4_kernel_equals_downsampling_twice():
    kernel = post_process(np.outer(np.hanning(13), np.hanning(13)))
    x = torch.rand(1, 1, 160, 160, dtype=torch.float64)
    k2, k4 = (torch.from_numpy(k)[None] for k in (kernel, x2_to_x4_kernel(kernel)))
    twice = kernel_downsample(kernel_downsample(x, k2, 2), k2, 2)
    torch.testing.assert_close(
        kernel_downsample(x, k4, 4)[..., 12:-12, 12:-12], twice[..., 12:-12, 12:-12], rtol=2e-3, atol=0
    )


def test_axis_spreads():
    """The variance of n equally weighted pixels in a line is (n ** 2 - 1) / 12."""
    box = np.zeros((9, 11))
    box[1:4, 2:9] = 0.5
    np.testing.assert_allclose(axis_spreads(box), [(8 / 12) ** 0.5, 2], rtol=1e-12)
    np.testing.assert_allclose(axis_spreads(box.T), [(8 / 12) ** 0.5, 2], rtol=1e-12)
    np.testing.assert_allclose(axis_spreads(np.eye(5)[::-1]), [0, 2], atol=1e-7)  # pixels at distances of sqrt(2)
    weights = np.zeros((3, 3))
    weights[[0, 2, 1, 1], [1, 1, 0, 2]] = [3, 3, 1, 1]
    np.testing.assert_allclose(axis_spreads(weights), [0.5, 0.75**0.5], rtol=1e-12)
