"""KernelGAN on each device: equal to the CPU for the same crops and noise; runs of a batch are independent."""

from pathlib import Path

import numpy as np
import pytest
import torch

from sample_images import sample_image, write_sample_images
from usrdu_basicsr.data.kernel_set import read_kernel_set
from usrdu_basicsr.kernelgan import postprocess
from usrdu_basicsr.kernelgan.crops import D_CROP, SourceImages
from usrdu_basicsr.kernelgan.estimate import EstimationSettings, estimate_kernels
from usrdu_basicsr.kernelgan.training import KernelGANs, _draw_noise, train_kernels

CPU = torch.device('cpu')
# Training amplifies rounding of 1e-7. With the usual initial weights, whose kernels are near 0, kernels differ by up to
# 1e-4 after 2 iterations and may differ by anything after 3; with kernels of sum 3, by 1e-5 after 4 iterations.


def images(count: int) -> list[np.ndarray]:
    names = ('astronaut', 'chelsea', 'coffee')[:count]
    return [sample_image(name, 120, 140)[..., ::-1].astype(np.float32) / 255 for name in names]


def relative_difference(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.linalg.norm(one - other) / np.linalg.norm(other))


def trained_with_fixed_noise(device: torch.device) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    """Initial kernels, kernels and losses of three runs. The noise is drawn on the CPU, as generators differ."""
    gans, noise = KernelGANs([0, 1, 2], device), torch.Generator().manual_seed(0)
    weights = list(gans.generators.weights.values())
    with torch.no_grad():
        for weight in weights:
            weight.abs_()
        sums = gans.generators().sum((1, 2))
        weights[-1].mul_((3 / sums)[:, None, None, None, None])
    gans.kernels = gans.generators()
    initial = gans.kernels.detach().cpu().numpy().copy()
    rngs = [np.random.default_rng(seed) for seed in range(3)]
    for g_crop, target, d_crop in SourceImages(images(3), device).draw([0, 1, 2], 4, rngs):
        real, fake = torch.randn(2, 3, 3, D_CROP, D_CROP, generator=noise).to(device) / 255
        losses = gans.step(g_crop, target, (d_crop + real) * 2 - 1, fake)
    kernels = gans.kernels.detach().cpu().numpy()
    return initial, kernels, {name: loss.cpu().numpy() for name, loss in losses.items()}


@pytest.mark.cuda
def test_iterations_equal_those_on_the_cpu():
    initial, kernels, losses = trained_with_fixed_noise(torch.device('cuda'))
    _, expected, expected_losses = trained_with_fixed_noise(CPU)
    for run in range(3):
        assert relative_difference(kernels[run], expected[run]) < 1e-3
        assert relative_difference(initial[run], expected[run]) > 0.1
    for name, values in expected_losses.items():
        np.testing.assert_allclose(losses[name], values, rtol=0.01, err_msg=name)


def test_kernels_do_not_depend_on_the_batch(device: torch.device):
    seeds = [3, 4, 5]
    together, losses = train_kernels(SourceImages(images(3), device), [0, 1, 2], seeds, device, 2)
    for run, seed in enumerate(seeds):
        alone, alone_losses = train_kernels(SourceImages([images(3)[run]], device), [0], [seed], device, 2)
        assert relative_difference(alone[0], together[run]) < 0.01
        for name, values in losses.items():
            np.testing.assert_allclose(alone_losses[name][0], values[run], rtol=0.01, err_msg=name)
    assert relative_difference(together[0], together[1]) > 0.1


def test_noise_has_one_gray_level(device: torch.device):
    streams = [torch.Generator(device).manual_seed(seed) for seed in (1, 1, 2)]
    noise = _draw_noise(streams, device) * 255
    assert torch.equal(noise[0], noise[1]) and not torch.equal(noise[0], noise[2])
    assert noise.device.type == device.type and noise.std().item() == pytest.approx(1, abs=0.02)


def test_estimated_folder(device: torch.device, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(postprocess, 'COLLAPSED_SUM_ERROR', np.inf)  # after a few iterations all runs are collapsed
    write_sample_images(tmp_path / 'camera', 3, 90, 96)
    settings = EstimationSettings(runs=2, iterations=4)
    report = estimate_kernels(tmp_path / 'camera', tmp_path / 'kernels', settings, device, batch=2)
    assert report.written == ['astronaut.png', 'chelsea.png', 'coffee.png']
    kernels = read_kernel_set(tmp_path / 'kernels' / 'x4', 96)
    assert len(kernels) == 3 and np.allclose(kernels.sum((1, 2)), 1, atol=1e-4)
