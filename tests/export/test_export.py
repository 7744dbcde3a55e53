"""Exported networks: output equals PyTorch, also at image sizes that the export itself does not compare."""

import hashlib
import json
import sys
from dataclasses import replace
from pathlib import Path

import onnx
import onnxruntime
import pytest
import safetensors
import safetensors.torch
import spandrel
import torch
from basicsr.archs.edsr_arch import EDSR
from basicsr.archs.rrdbnet_arch import RRDBNet
from basicsr.archs.srresnet_arch import MSRResNet
from basicsr.archs.srvgg_arch import SRVGGNetCompact
from basicsr.archs.swinir_arch import SwinIR
from torch import nn

from python_process import ROOT, run_script
from usrdu_basicsr.archs.dsn_arch import UncertaintyDSN
from usrdu_basicsr.export import export
from usrdu_basicsr.export.check import ExportError, require_torch
from usrdu_basicsr.export.export import FORMATS, export_network
from usrdu_basicsr.export.metadata import options_sha256
from usrdu_basicsr.export.to_onnx import run_onnx, to_onnx
from usrdu_basicsr.export.to_torch_export import OLDEST_TORCH, run_torch_export, to_torch_export
from usrdu_basicsr.utils.errors import InputError
from usrdu_basicsr.version import __version__

RRDB = {'num_feat': 8, 'num_block': 1, 'num_grow_ch': 32}  # spandrel reads no other `num_grow_ch`
NETWORKS = {
    'rrdb4': (lambda: RRDBNet(3, 3, scale=4, **RRDB), 4, 1),
    'rrdb2': (lambda: RRDBNet(3, 3, scale=2, **RRDB), 2, 2),
    'srvgg2': (lambda: SRVGGNetCompact(num_feat=8, num_conv=2, upscale=2), 2, 1),
}
POSSIBLE = [name for name in FORMATS if not FORMATS[name].traced or torch.__version__ >= OLDEST_TORCH]
needs_traces = pytest.mark.skipif(torch.__version__ < OLDEST_TORCH, reason='torch is too old to trace')
SIZES = [(1, 8, 36), (3, 22, 12), (1, 4, 4)]  # batch, height, width


def save(path: Path, network: nn.Module, averaged: nn.Module | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {'params': network.state_dict()}
    if averaged is not None:
        content['params_ema'] = averaged.state_dict()
    torch.save(content, path)
    return path


def small_checkpoint(folder: Path) -> Path:
    return save(folder / 'net.pth', NETWORKS['srvgg2'][0]())


class Export:
    """A network, its checkpoint and its exported files."""

    def __init__(self, name: str, folder: Path):
        torch.manual_seed(0)
        make, self.scale, self.multiple = NETWORKS[name]
        self.network = make().eval().requires_grad_(False)
        self.checkpoint = save(folder / 'net.v1.pth', make(), averaged=self.network)
        self.folder = folder / 'exported'
        self.written = list(export_network(self.checkpoint, self.folder, POSSIBLE, 'CC0'))

    def path(self, ending: str) -> Path:
        return self.folder / f'net.v1.{ending}'

    def check(self, run, tolerance: float):
        for batch, height, width in SIZES:
            x = torch.rand(batch, 3, height, width)
            expected = self.network(x)
            assert expected.shape == (batch, 3, height * self.scale, width * self.scale)
            assert (run(x) - expected).abs().max() <= tolerance

    def metadata(self) -> dict[str, str]:
        return {
            'architecture': type(self.network).__name__,
            'scale': str(self.scale),
            'size_multiple': str(self.multiple),
            'in_channels': '3',
            'color': 'RGB, 0 to 1',
            'license': 'CC0',
            'training_options_sha256': 'not known',
            'weights_sha256': hashlib.sha256(self.checkpoint.read_bytes()).hexdigest(),
            'producer': f'usrdu_basicsr {__version__}',
        }


@pytest.fixture(
    scope='module', params=[pytest.param(name, marks=[pytest.mark.slow] * name.startswith('rrdb')) for name in NETWORKS]
)
def exported(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Export:
    return Export(request.param, tmp_path_factory.mktemp(request.param))


def test_every_format_is_written(exported: Export):
    assert [file.path for file in exported.written] == [exported.path(name) for name in POSSIBLE]
    assert sorted(exported.folder.iterdir()) == sorted(file.path for file in exported.written)
    assert [file.size for file in exported.written] == [file.path.stat().st_size for file in exported.written]
    assert exported.written[0].difference == 0
    assert all(file.difference < 1e-5 for file in exported.written)


def test_safetensors(exported: Export):
    weights = safetensors.torch.load_file(exported.path('safetensors'))
    state = exported.network.state_dict()
    assert weights.keys() == state.keys()
    assert all(torch.equal(weights[name], state[name]) and weights[name].dtype == torch.float32 for name in state)
    with safetensors.safe_open(exported.path('safetensors'), 'pt') as file:
        assert file.metadata() == {'format': 'pt', **exported.metadata()}


@needs_traces
def test_onnx(exported: Export):
    session = onnxruntime.InferenceSession(exported.path('onnx'), providers=['CPUExecutionProvider'])
    exported.check(lambda x: torch.from_numpy(session.run(['output'], {'input': x.numpy()})[0]), 1e-5)
    (x,), (y,) = session.get_inputs(), session.get_outputs()
    assert (x.name, x.type, x.shape) == ('input', 'tensor(float)', ['batch', 3, 'height', 'width'])
    assert (y.name, y.type, y.shape) == ('output', 'tensor(float)', ['batch', 3, 'output_height', 'output_width'])
    assert session.get_modelmeta().custom_metadata_map == exported.metadata()
    onnx.checker.check_model(exported.path('onnx'), full_check=True)


@needs_traces
def test_torch_export(exported: Export):
    files = {'metadata.json': ''}
    network = torch.export.load(exported.path('pt2'), extra_files=files).module()
    exported.check(network, 1e-6)
    assert json.loads(files['metadata.json']) == exported.metadata()
    if exported.multiple > 1:
        with pytest.raises((AssertionError, RuntimeError)):  # depends on the torch release
            network(torch.rand(1, 3, 9, 8))


def test_files_contain_no_local_paths(exported: Export):
    places = (str(Path(torch.__file__).parents[1]), str(ROOT))
    for file in exported.written:
        assert not any(place.encode() in file.path.read_bytes() for place in places)


def test_spandrel_reads_the_checkpoint_and_the_safetensors(exported: Export):
    x = torch.rand(1, 3, 12, 20)
    expected = exported.network(x).clamp(0, 1)  # as spandrel does
    for path in (exported.checkpoint, exported.path('safetensors')):
        model = spandrel.ModelLoader(device='cpu').load_from_file(path)
        assert isinstance(model, spandrel.ImageModelDescriptor)
        assert (
            model.architecture.id
            == {'RRDBNet': 'ESRGAN', 'SRVGGNetCompact': 'Compact'}[type(exported.network).__name__]
        )
        assert (model.scale, model.input_channels, model.output_channels) == (exported.scale, 3, 3)
        with torch.no_grad():
            assert (model(x) - expected).abs().max() <= 1e-6


OPTIONS = """
name: run
network_g:
  type: SRVGGNetCompact
  upscale: 2
train: {total_iter: 10, lr: 0.001, started: 2024-05-06, 3: three, text: größer}
"""
PARSED = {
    'name': 'run',
    'network_g': {'type': 'SRVGGNetCompact', 'upscale': 2},
    'train': {'total_iter': 10, 'lr': 0.001, 'started': '2024-05-06', '3': 'three', 'text': 'größer'},
}


def read_metadata(path: Path) -> dict[str, str]:
    with safetensors.safe_open(path, 'pt') as file:
        return file.metadata()


@pytest.mark.slow
def test_script(tmp_path: Path):
    experiment = tmp_path / 'experiments' / 'run'
    save(experiment / 'models' / 'net_g_latest.pth', NETWORKS['srvgg2'][0]())
    (experiment / 'train.yml').write_text(f'# GENERATE TIME: now\n# CMD:\n# train.py\n\n{OPTIONS}', encoding='utf-8')
    script = (ROOT / 'scripts' / 'export.py', '--model_path', 'experiments/run/models/net_g_latest.pth', '-o', 'out')
    result = run_script(*script, '--license', 'MIT', '--format', *POSSIBLE, cwd=tmp_path)
    assert (result.returncode, result.stderr) == (0, '')
    lines = result.stdout.splitlines()
    assert [line.split(':')[0] for line in lines] == [str(Path('out', f'net_g_latest.{name}')) for name in POSSIBLE]
    assert all('differs from PyTorch by at most' in line for line in lines)
    metadata = read_metadata(tmp_path / 'out' / 'net_g_latest.safetensors')
    text = json.dumps(PARSED, sort_keys=True, separators=(',', ':'), ensure_ascii=False)
    assert metadata['training_options_sha256'] == hashlib.sha256(text.encode()).hexdigest()
    assert metadata['license'] == 'MIT'


def test_existing_file_is_replaced_only_with_overwrite(tmp_path: Path):
    checkpoint = small_checkpoint(tmp_path)
    (file,) = export_network(checkpoint, tmp_path, ['safetensors'], 'MIT')
    with pytest.raises(InputError, match=r"net\.safetensors' already exists\. .* --overwrite"):
        list(export_network(tmp_path / 'missing' / 'net.pth', tmp_path, POSSIBLE[::-1]))  # nothing is read
    assert read_metadata(file.path)['license'] == 'MIT'
    list(export_network(checkpoint, tmp_path, ['safetensors'], overwrite=True))
    assert read_metadata(file.path)['license'] == 'not stated'


def test_several_options_files_are_ignored(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    checkpoint = save(tmp_path / 'models' / 'net.pth', NETWORKS['srvgg2'][0]())
    for name in ('a.yml', 'b.yml'):
        (tmp_path / name).write_text(OPTIONS, encoding='utf-8')
    (file,) = export_network(checkpoint, tmp_path, ['safetensors'])
    assert read_metadata(file.path)['training_options_sha256'] == 'not known'
    assert 'has several (a.yml, b.yml). Select one with -opt' in caplog.text


def test_unreadable_options_of_the_experiment(tmp_path: Path):
    checkpoint = save(tmp_path / 'models' / 'net.pth', NETWORKS['srvgg2'][0]())
    (tmp_path / 'train.yml').write_text('name: [', encoding='utf-8')
    with pytest.raises(InputError, match=r'options of the experiment: .*invalid YAML.* Select another file with -opt'):
        list(export_network(checkpoint, tmp_path, ['safetensors']))


@pytest.mark.slow
def test_other_network_requires_options(tmp_path: Path):
    checkpoint = save(tmp_path / 'net.pth', MSRResNet(num_feat=8, num_block=1, upscale=2))
    with pytest.raises(InputError, match='-opt'):
        list(export_network(checkpoint, tmp_path, POSSIBLE))
    options = {'network_g': {'type': 'MSRResNet', 'num_feat': 8, 'num_block': 1, 'upscale': 2}}
    files = list(export_network(checkpoint, tmp_path, POSSIBLE, options=options))
    assert [file.path.name for file in files] == [f'net.{name}' for name in POSSIBLE]
    metadata = read_metadata(files[0].path)
    assert (metadata['architecture'], metadata['scale']) == ('MSRResNet', '2')
    assert metadata['training_options_sha256'] == options_sha256(options)


def test_scale_of_a_network_without_scale_attribute(tmp_path: Path):
    checkpoint = save(tmp_path / 'net.pth', EDSR(3, 3, 8, 1, upscale=4))
    network = {'type': 'EDSR', 'num_in_ch': 3, 'num_out_ch': 3, 'num_feat': 8, 'num_block': 1, 'upscale': 4}
    (file,) = export_network(checkpoint, tmp_path, ['safetensors'], options={'network_g': network})
    assert read_metadata(file.path)['scale'] == '4'


@pytest.mark.slow
@needs_traces
def test_network_of_fixed_size_exports_only_weights(tmp_path: Path):
    network = {'img_size': 16, 'depths': [1], 'embed_dim': 8, 'num_heads': [2], 'window_size': 8, 'upscale': 2}
    network |= {'upsampler': 'pixelshuffledirect', 'mlp_ratio': 2}
    checkpoint = save(tmp_path / 'net.pth', SwinIR(**network))
    options = {'network_g': {'type': 'SwinIR', **network}}
    with pytest.raises(ExportError, match='cannot record SwinIR for images of any size'):
        list(export_network(checkpoint, tmp_path / 'out', ['pt2'], options=options))
    (file,) = export_network(checkpoint, tmp_path / 'out', ['safetensors'], options=options)
    assert read_metadata(file.path)['size_multiple'] == '8'
    assert list((tmp_path / 'out').iterdir()) == [file.path]


@pytest.mark.parametrize('described', [False, True])
def test_dsn_is_rejected(tmp_path: Path, described: bool):
    checkpoint = save(tmp_path / 'net.pth', UncertaintyDSN(num_feat=8, num_block=1, scale=4))
    network = {'type': 'UncertaintyDSN', 'num_feat': 8, 'num_block': 1, 'scale': 4}
    options = {'network_g': network} if described else None
    with pytest.raises(InputError, match='expected an SR network' if described else 'stage 1 DSN'):
        list(export_network(checkpoint, tmp_path / 'out', POSSIBLE, options=options))
    assert not (tmp_path / 'out').exists()


def test_single_channel_network_is_rejected(tmp_path: Path):
    checkpoint = save(tmp_path / 'net.pth', SRVGGNetCompact(1, 1, num_feat=8, num_conv=1, upscale=2))
    with pytest.raises(InputError, match=r'SRVGGNetCompact cannot upscale .*expected an SR network for RGB'):
        list(export_network(checkpoint, tmp_path / 'out', POSSIBLE))


@pytest.mark.parametrize(
    ('name', 'package'), [(name, package) for name in POSSIBLE for package in FORMATS[name].packages]
)
def test_missing_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, package: str):
    checkpoint = small_checkpoint(tmp_path)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(InputError, match=rf"format {name} needs the package {package}. Run pip install '.*\[export\]'"):
        list(export_network(checkpoint, tmp_path / 'out', POSSIBLE))
    assert not (tmp_path / 'out').exists()


def test_old_torch_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    require_torch('pt2', '2.4')  # an older version, but not in the order of strings
    checkpoint = small_checkpoint(tmp_path)
    monkeypatch.setattr(export, 'OLDEST_TORCH', '99.0')
    for name in ('onnx', 'pt2'):
        with pytest.raises(InputError, match=rf'format {name}: got torch .*, expected 99\.0 or newer'):
            list(export_network(checkpoint, tmp_path / 'out', [name]))
    assert len(list(export_network(checkpoint, tmp_path / 'out', ['safetensors']))) == 1


def changed(network: nn.Module, value: float) -> nn.Module:
    """Copy of a network with one bias changed."""
    other = SRVGGNetCompact(num_feat=8, num_conv=2, upscale=2).eval().requires_grad_(False)
    other.load_state_dict(network.state_dict())
    other.body[0].bias[0] += value
    return other


@pytest.mark.parametrize('name', POSSIBLE)
@pytest.mark.parametrize('value', [0.1, float('nan')])
def test_deviating_export_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: float):
    checkpoint = small_checkpoint(tmp_path)
    original = FORMATS[name]
    wrong = replace(original, write=lambda network, metadata: original.write(changed(network, value), metadata))
    monkeypatch.setitem(FORMATS, name, wrong)
    with pytest.raises(ExportError, match=f'{name} not written: it differs from PyTorch by'):
        list(export_network(checkpoint, tmp_path / 'out', [name], overwrite=True))
    assert not (tmp_path / 'out').exists()


def test_failed_export_keeps_the_existing_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    checkpoint = small_checkpoint(tmp_path)
    original = FORMATS['safetensors']
    wrong = replace(original, write=lambda network, metadata: original.write(changed(network, 1.0), metadata))
    monkeypatch.setitem(FORMATS, 'safetensors', wrong)
    old = tmp_path / 'out' / 'net.safetensors'
    old.parent.mkdir()
    old.write_text('old')
    with pytest.raises(ExportError):
        list(export_network(checkpoint, old.parent, ['safetensors'], overwrite=True))
    assert old.read_text() == 'old'
    assert list(old.parent.iterdir()) == [old]


@needs_traces
@pytest.mark.parametrize(('write', 'run'), [(to_onnx, run_onnx), (to_torch_export, run_torch_export)])
def test_export_of_fixed_size_is_rejected(write, run):
    network = NETWORKS['srvgg2'][0]().eval().requires_grad_(False)
    one_size = run(write(torch.export.export(network, (torch.rand(1, 3, 8, 8),), strict=False), {}))
    assert one_size(torch.rand(1, 3, 8, 8)).shape == (1, 3, 16, 16)
    with pytest.raises(ExportError, match=r'not written: it fails on \[1, 3, 9, 8\]'):
        one_size(torch.rand(1, 3, 9, 8))


def test_half_precision_weights_are_written_as_float32(tmp_path: Path):
    network = NETWORKS['srvgg2'][0]()
    checkpoint = save(tmp_path / 'net.pth', network.half())
    (file,) = export_network(checkpoint, tmp_path / 'out', ['safetensors'])
    data = safetensors.torch.load_file(file.path)
    assert {value.dtype for value in data.values()} == {torch.float32}
    for name, value in network.state_dict().items():
        assert torch.equal(data[name], value.float())
