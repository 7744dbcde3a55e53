"""Networks of `usrdu fit`, the measured step, the plan, and the options files that it writes."""

import os
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml
from basicsr.utils.registry import ARCH_REGISTRY

from usrdu_basicsr.fit import network as network_module
from usrdu_basicsr.fit.network import GT_SIZE, Step, choose_network, measure_step
from usrdu_basicsr.fit.options_files import Schedule, write_dsn_options, write_srn_options
from usrdu_basicsr.fit.plan import make_plan
from usrdu_basicsr.fit.request import Request
from usrdu_basicsr.fit.selection import Selection
from usrdu_basicsr.options.checking import check_options
from usrdu_basicsr.options.reading import read_options_file
from usrdu_basicsr.utils.errors import InputError, InputNotFoundError

CPU = torch.device('cpu')
STEPS = ['data', 'camera', 'stage_1', 'generate', 'training', 'results']


@pytest.mark.parametrize('scale', [1, 2, 4])
@pytest.mark.parametrize('name', ['compact', 'rrdb', 'swinir'])
def test_networks_upscale_their_patches(name: str, scale: int):
    options = dict(choose_network(name, scale, CPU).options)
    if name == 'rrdb':
        options |= {'num_block': 1, 'num_feat': 8}
    net = ARCH_REGISTRY.get(options.pop('type'))(**options)
    side = GT_SIZE[scale] // scale
    with torch.no_grad():
        assert net(torch.rand(1, 3, side, side)).shape == (1, 3, scale * side, scale * side)


def test_a_gpu_gets_a_larger_compact_network():
    on_cpu, on_gpu = (choose_network('compact', 2, torch.device(name)) for name in ('cpu', 'cuda'))
    sizes = {'type': 'IdentitySRVGGNetCompact', 'num_feat': 64, 'num_conv': 16, 'upscale': 2}
    assert on_gpu.options == sizes and on_cpu.options == sizes | {'num_feat': 32, 'num_conv': 8}
    assert (on_cpu.learning_rate, on_gpu.learning_rate) == (1e-3, 5e-4)


def test_unknown_network_is_an_error():
    with pytest.raises(InputNotFoundError, match='which is none of compact, rrdb, swinir'):
        choose_network('none.pth', 4, CPU)


def test_published_model(tmp_path: Path):
    spandrel = pytest.importorskip('spandrel')
    assert spandrel
    net = ARCH_REGISTRY.get('SRVGGNetCompact_basicsr')(num_feat=16, num_conv=2, upscale=2)
    torch.save({'params': net.state_dict()}, tmp_path / 'published.pth')
    network = choose_network(str(tmp_path / 'published.pth'), 2, CPU)
    assert network.options == {'type': 'SpandrelArch', 'path': str(tmp_path / 'published.pth')}
    assert network.learning_rate == 1e-4
    with pytest.raises(InputError, match='has scale 2, expected 4'):
        choose_network(str(tmp_path / 'published.pth'), 4, CPU)


def test_step_that_does_not_fit_into_memory_is_split(monkeypatch: pytest.MonkeyPatch):
    def seconds(network: object, scale: int, device: torch.device, accum_iter: int, precision: str) -> float:
        if accum_iter < 4:
            raise torch.OutOfMemoryError
        return {'fp32': 1.0, 'bf16': bf16}[precision]

    monkeypatch.setattr(network_module, '_precisions', lambda device: ['fp32', 'bf16'])
    monkeypatch.setattr(network_module, '_seconds', seconds)
    network = choose_network('compact', 4, CPU)
    bf16 = 0.5
    assert measure_step(network, 4, CPU) == Step(0.5, 4, 'bf16')
    bf16 = 0.9  # not enough for the lower precision
    assert measure_step(network, 4, CPU) == Step(1.0, 4, 'fp32')


def test_step_of_a_small_network_is_measured(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(network_module, 'MEASURED_SECONDS', 0.0)
    step = measure_step(choose_network('compact', 4, CPU), 4, CPU)
    assert 0 < step.seconds < 10 and step.accum_iter == 1 and step.precision in ('fp32', 'bf16')


@pytest.fixture
def request_(tmp_path: Path) -> Request:
    return Request(tmp_path / 'hr', tmp_path / 'lr', tmp_path / 'run', scale=2, seconds=600)


def selection_of(count: int, folder: Path) -> Selection:
    images = [folder / f'{number}.png' for number in range(count)]
    for image in images:
        image.write_bytes(bytes(2**20))
    return Selection(images, images, images[:2], images[:4], [])


def test_plan_spends_the_promised_time(request_: Request, tmp_path: Path):
    network = choose_network('compact', 2, CPU)
    arguments = selection_of(50, tmp_path), network, Step(0.05, 2, 'fp32'), CPU, STEPS
    for preset, stages in (('auto', []), ('published', ['stage_1'])):
        request = replace(request_, preset=preset)
        plan = make_plan(request, *arguments, 0, False)
        assert plan.seconds['data'] * min(4, os.cpu_count()) == pytest.approx(0.06 * (50 + 50 + 2 + 4))
        assert list(plan.seconds) == ['data', 'camera', 'generate', *stages, 'training', 'results']
        assert sum(plan.seconds.values()) == pytest.approx(600)
        rows = dict(plan.rows())
        assert rows['all'] == '10 min' and '16 patches of 64 HR pixels in 2 micro-batches' in rows['network']
    with pytest.raises(InputError, match=r'--time: got 30s, expected at least \d+s on this machine') as error:
        make_plan(replace(request_, seconds=30), *arguments, 9, False)
    least = int(re.search(r'(\d+)s on', str(error.value))[1])
    assert make_plan(replace(request_, seconds=least), *arguments, 9, False).seconds['training'] >= 10


def test_plan_of_a_resumed_run_has_the_remaining_steps(request_: Request, tmp_path: Path):
    """A training that has begun gets the time that is left, and one that is finished does not need any."""
    arguments = selection_of(50, tmp_path), choose_network('compact', 2, CPU), Step(0.05, 2, 'fp32'), CPU
    plan = make_plan(request_, *arguments, ['training', 'results'], 400, True)
    rows = dict(plan.rows())
    assert rows['time'].startswith('training ') and rows['all'] == '10 min'
    assert plan.seconds['training'] == pytest.approx(200 - plan.seconds['results'])
    plan = make_plan(request_, *arguments, ['results'], 599, True)
    rows = dict(plan.rows())
    assert 'iterations' not in rows and rows['time'].startswith('results ') and plan.seconds['training'] == 0


@pytest.mark.parametrize('scale', [1, 2, 4])
def test_options_files_are_valid(tmp_path: Path, scale: int):
    network, schedule = choose_network('compact', scale, CPU), Schedule(2000, 200)
    write_srn_options(tmp_path / 'srn.yml', network, Step(0.1, 2, 'fp32'), scale, schedule, 4, cpu=True)
    write_dsn_options(tmp_path / 'dsn.yml', scale, schedule, 2, cpu=False)
    for stage in ('srn', 'dsn'):
        problems = check_options(read_options_file(str(tmp_path / f'{stage}.yml')), is_train=True, check_paths=False)
        assert not problems
    srn, dsn = (yaml.safe_load((tmp_path / f'{stage}.yml').read_text()) for stage in ('srn', 'dsn'))
    assert (srn['train']['accum_iter'], srn['num_gpu'], srn['scale']) == (8, 0, scale)
    assert srn['train']['scheduler']['periods'] == [2000] and srn['logger']['save_checkpoint_freq'] == 200
    assert dsn['train']['gan_input'] == 'mean' and dsn['network_g']['scale'] == scale and dsn['num_gpu'] == 1
