"""LPIPS and DISTS against second implementations of their formulas and published values, and how they are loaded."""

import json
import os
import sys
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
import torch
import torchvision
from basicsr.metrics import calculate_metric
from torch import Tensor, nn
from torch.nn import functional as F

from experiments import Experiment, options, write_data
from recipe_runs import OPTIONS, make_data, read
from trainings import TrainingServer
from usrdu_basicsr.metrics import perceptual_metrics
from usrdu_basicsr.metrics.perceptual_metrics import calculate_dists, calculate_lpips, load_metric
from usrdu_basicsr.utils.errors import InputError, InputNotFoundError
from usrdu_basicsr.utils.pretrained_features import cached_weights_path, load_features

torchmetrics = pytest.importorskip('torchmetrics')

LEARNED = Path(torchmetrics.__file__).parent / 'functional' / 'image'  # weights of LPIPS and DISTS
# File with torchvision's ImageNet weights of VGG16, of any floating-point type
VGG16 = Path(os.environ.get('USRDU_TEST_VGG16', cached_weights_path('vgg16')))
needs_vgg16 = pytest.mark.skipif(not VGG16.is_file(), reason='needs ImageNet weights: set USRDU_TEST_VGG16')
METRICS = {
    'lpips': {'type': 'calculate_lpips', 'better': 'lower', 'weights': 'random'},
    'dists': {'type': 'calculate_dists', 'better': 'lower', 'weights': 'random'},
}


@pytest.fixture(autouse=True)
def nothing_loaded():
    for load in (perceptual_metrics._lpips, perceptual_metrics._dists):
        load.cache_clear()


@pytest.fixture
def pair() -> np.ndarray:
    """A BGR image with different channels, and the same image with noise."""
    rng = np.random.default_rng(0)
    image = np.kron(rng.integers(20, 236, (6, 7, 3)), np.ones((8, 8, 1)))
    return np.stack([image, image + rng.normal(0, 80, image.shape)]).clip(0, 255).astype(np.uint8)


def rgb(pair: np.ndarray) -> Tensor:
    return torch.from_numpy(pair[..., ::-1] / 255).permute(0, 3, 1, 2)


def features(layers: nn.Module, x: Tensor, indices: tuple[int, ...]) -> list[Tensor]:
    """Outputs of some layers, in double precision."""
    found = []
    for index, layer in enumerate(layers.double()[: indices[-1] + 1]):
        x = layer(x).clone()  # the activations are in place
        found += [x.clone()] if index in indices else []
    return found


@pytest.mark.parametrize(
    ('net', 'name', 'relus'), [('alex', 'alexnet', (1, 4, 7, 9, 11)), ('vgg', 'vgg16', (3, 8, 15, 22, 29))]
)
def test_lpips_equals_the_formula(pair: np.ndarray, net: str, name: str, relus: tuple[int, ...]):
    """Equation 1 of Zhang et al., 2018; the published implementation normalises by these constants (version 0.1)."""
    mean, std = torch.tensor([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]])[..., None, None].double()
    weights = torch.load(LEARNED / 'lpips_models' / f'{net}.pth', map_location='cpu', weights_only=True)
    expected = 0.0
    for level, layer in enumerate(features(load_features(name, 'random'), (rgb(pair) - mean) / std, relus)):
        one, other = layer / layer.norm(dim=1, keepdim=True).clamp(min=1e-10)
        weight = weights[f'lin{level}.model.1.weight'].double().view(-1, 1, 1)
        expected += (weight * (one - other) ** 2).sum(0).mean().item()
    got = calculate_lpips(*pair, net=net, weights='random')
    assert got == pytest.approx(expected, abs=1e-3, rel=1e-3) and expected > 0.01


def test_dists_equals_the_formula(pair: np.ndarray):
    """Ding et al., 2020: VGG16 with L2 pooling, compared by global means and covariances."""
    layers = load_features('vgg16', 'random').double()
    hann = torch.tensor([0.25, 0.5, 0.25]).double()
    mean, std = torch.tensor([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]])[..., None, None].double()
    x, levels = rgb(pair), [rgb(pair)]
    x = (x - mean) / std
    for index, layer in enumerate(layers):
        if isinstance(layer, nn.MaxPool2d):
            if index == 30:
                break
            channels = x.shape[1]
            kernel = (hann[:, None] * hann).expand(channels, 1, 3, 3)
            x = (F.conv2d(x**2, kernel, stride=2, padding=1, groups=channels) + 1e-12).sqrt()
        else:
            x = layer(x.clone())
        levels += [x.clone()] if index in (3, 8, 15, 22, 29) else []
    weights = torch.load(LEARNED / 'dists_models' / 'weights.pt', map_location='cpu', weights_only=True)
    alpha, beta = (weights[name].double().flatten() for name in ('alpha', 'beta'))
    similarities = []
    for level in levels:
        one, other = level.flatten(2)
        means, deviations = (one.mean(1), other.mean(1)), (one.std(1, correction=0), other.std(1, correction=0))
        covariance = ((one - means[0][:, None]) * (other - means[1][:, None])).mean(1)
        texture = (2 * means[0] * means[1] + 1e-6) / (means[0] ** 2 + means[1] ** 2 + 1e-6)
        structure = (2 * covariance + 1e-6) / (deviations[0] ** 2 + deviations[1] ** 2 + 1e-6)
        similarities.append((texture, structure))
    textures, structures = (torch.cat(each) for each in zip(*similarities, strict=True))
    expected = 1 - ((alpha * textures + beta * structures).sum() / (alpha + beta).sum()).item()
    got = calculate_dists(*pair, weights='random')
    assert got == pytest.approx(expected, abs=1e-3, rel=1e-3) and expected > 0.01


def published_images(count: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Images of the examples in the documentation of torchmetrics, from the current random state."""
    images = torch.rand(count, 3, size, size), torch.rand(count, 3, size, size)
    one, other = (255 * each.flip(1).permute(0, 2, 3, 1).numpy() for each in images)
    return one, other


@needs_vgg16
def test_published_lpips():
    """Example of torchmetrics 1.0, which computes LPIPS with the package lpips of its authors."""
    torch.manual_seed(123)
    torchvision.models.vgg16(weights=None, init_weights=False)  # the example builds the networks before the images
    for channels in (64, 128, 256, 512, 512):
        nn.Conv2d(channels, 1, 1, bias=False)
    pairs = zip(*published_images(10, 100), strict=True)
    values = [calculate_lpips(*pair, net='vgg', weights=str(VGG16)) for pair in pairs]
    assert np.mean(values) == pytest.approx(0.3493, abs=2e-4)


@needs_vgg16
def test_published_dists():
    torch.manual_seed(42)
    pairs = zip(*published_images(5, 256), strict=True)
    values = [calculate_dists(*pair, weights=str(VGG16)) for pair in pairs]
    assert values == pytest.approx([0.1285, 0.1344, 0.1356, 0.1277, 0.1276], abs=2e-4)


@pytest.mark.parametrize('calculate', [calculate_lpips, calculate_dists])
def test_images(pair: np.ndarray, calculate):
    """Identical and gray images, borders, and the orders of channels and dimensions."""

    def distance(img: np.ndarray, img2: np.ndarray, **settings: object) -> float:
        return calculate(img, img2, weights='random', **settings)

    one, other = pair
    value = distance(one, other)
    assert value > 0.01
    assert distance(one, one) == pytest.approx(0, abs=1e-6)
    assert distance(one.astype(np.float64), other.astype(np.float64), better='lower') == value
    assert distance(one.transpose(2, 0, 1), other.transpose(2, 0, 1), input_order='CHW') == value
    assert abs(distance(one[..., ::-1], other[..., ::-1]) - value) > 1e-4
    inner = distance(one[4:-4, 4:-4], other[4:-4, 4:-4])
    assert distance(one, other, crop_border=4) == inner != value
    gray, gray2 = one[..., 0], other[..., 0]
    repeated = distance(np.repeat(gray[..., None], 3, 2), np.repeat(gray2[..., None], 3, 2))
    assert distance(gray, gray2) == distance(gray[..., None], gray2[..., None]) == pytest.approx(repeated, rel=1e-6)
    with pytest.raises(InputError, match=r'got images of shapes \(48, 56, 3\) and \(48, 55, 3\), expected equal'):
        distance(one, other[:, 1:])


@pytest.mark.parametrize(('net', 'size'), [('alex', 31), ('vgg', 16)])
def test_smallest_images_of_lpips(net: str, size: int):
    image = np.zeros((size + 2, size + 4, 3), np.uint8)
    assert calculate_lpips(image, image, 1, net=net, weights='random') == 0
    with pytest.raises(InputError, match=rf'got images of {size - 2}x{size} pixels .* at least {size}x{size} for net'):
        calculate_lpips(image, image, 2, net=net, weights='random')


@pytest.mark.parametrize('settings', METRICS.values(), ids=METRICS)
def test_network_is_loaded_once_and_frozen(pair: np.ndarray, settings: dict, monkeypatch: pytest.MonkeyPatch):
    loaded = []

    def load(*arguments: object) -> nn.Module:
        loaded.append(arguments)
        return load_features(*arguments)

    monkeypatch.setattr(perceptual_metrics, 'load_features', load)
    state = torch.get_rng_state()
    load_metric(settings)
    values = [calculate_metric({'img': pair[0], 'img2': pair[1], 'log_scale': pair[0]}, settings) for _ in range(2)]
    assert len(loaded) == 1 and values[0] == values[1] and type(values[0]) is float
    assert torch.equal(state, torch.get_rng_state()) and torch.is_grad_enabled()


def test_other_metrics_load_nothing():
    load_metric({'type': 'calculate_psnr'})


def test_weights_from_a_file(pair: np.ndarray, tmp_path: Path):
    state = load_features('alexnet', 'random').state_dict()
    torch.save({f'features.{name}': value.half() for name, value in state.items()}, tmp_path / 'alexnet.pth')
    value = calculate_lpips(*pair, weights=str(tmp_path / 'alexnet.pth'))
    assert value == pytest.approx(calculate_lpips(*pair, weights='random'), rel=1e-2)
    with pytest.raises(InputError, match=r"weights: '.*alexnet\.pth' does not fit vgg16: features\.0\.weight is"):
        calculate_lpips(*pair, net='vgg', weights=str(tmp_path / 'alexnet.pth'))
    with pytest.raises(InputNotFoundError, match=r"weights: file 'none\.pth' does not exist"):
        calculate_dists(*pair, weights='none.pth')


@pytest.mark.parametrize(('name', 'network'), [('lpips', 'alexnet'), ('dists', 'vgg16')])
def test_offline(pair: np.ndarray, name: str, network: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def no_network(*_: object) -> None:
        raise URLError('no network')

    monkeypatch.setenv('TORCH_HOME', str(tmp_path))
    monkeypatch.setattr(torch.hub, 'urlopen', no_network)
    with pytest.raises(InputError) as caught:
        calculate_metric({'img': pair[0], 'img2': pair[1]}, METRICS[name] | {'weights': 'imagenet'})
    assert str(caught.value).startswith(
        f"weights: cannot load torchvision's ImageNet weights of {network} (<urlopen error no network>). Connect to the"
        f" internet, copy them to '{tmp_path}"
    )
    assert '\n' not in str(caught.value)


@pytest.mark.parametrize('name', METRICS)
def test_torchmetrics_is_not_installed(pair: np.ndarray, name: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, f'torchmetrics.functional.image.{name}', None)
    with pytest.raises(InputError, match=rf"calculate_{name} needs .* Run pip install 'usrdu_basicsr\[metrics\]' \("):
        calculate_metric({'img': pair[0], 'img2': pair[1]}, METRICS[name])


@pytest.mark.parametrize('recipe', ['train_dsn.yml', 'train_srn.yml'])
def test_missing_weights_are_found_before_a_run(recipe: str, parse):
    opt = read(OPTIONS / 'demo' / recipe) | {'num_gpu': 0}
    make_data(opt)
    opt['val']['metrics'] = METRICS
    parse(opt)
    opt['val']['metrics'] = {name: settings | {'weights': 'none.pth'} for name, settings in METRICS.items()}
    with pytest.raises(InputError) as caught:
        parse(opt)
    for name in METRICS:
        assert f"val: metrics: {name}: weights: file 'none.pth' does not exist" in str(caught.value)


@pytest.mark.slow
def test_trainings_of_both_stages_keep_the_best_checkpoint(tmp_path: Path):
    write_data(tmp_path)
    server = TrainingServer(tmp_path)
    try:
        for stage, metrics in (('dsn', {'dists': METRICS['dists']}), ('srn', METRICS)):
            opt = options(stage, stage, workers=0)
            opt['train']['total_iter'] = 15
            opt['logger'] |= {'keep_checkpoints': 1, 'save_checkpoint_freq': 3}
            opt['val'] |= {'val_freq': 3, 'metrics': metrics}
            server.run(opt)
            run = Experiment(tmp_path, stage)
            records = [json.loads(line) for line in (run.folder / 'validation.jsonl').read_text().splitlines()]
            values = {record['iter']: record['metrics'] for record in records}
            assert list(values) == [3, 6, 9, 12, 15]
            assert all(each.keys() == metrics.keys() and min(each.values()) > 0 for each in values.values())
            del values[15]  # validated after the last checkpoint was saved
            best = min(values, key=lambda i: values[i][next(iter(metrics))])
            assert {int(path.stem) for path in run.states.glob('*.state')} == {15, best}
    finally:
        server.stop()
