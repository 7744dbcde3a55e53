"""`usrdu fit` as a user runs it: killed in each step, resumed, finished; its results and its report."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from html.parser import HTMLParser
from io import StringIO
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import psutil
import pytest
import torch
from safetensors.torch import load_file

from python_process import ROOT, run_python
from sample_images import sample_image
from usrdu_basicsr.degradation.simulated_camera import SimulatedCamera, gaussian_kernel
from usrdu_basicsr.fit.command import Command, Progress
from usrdu_basicsr.fit.fit import Fit
from usrdu_basicsr.fit.network import Network
from usrdu_basicsr.fit.request import Request
from usrdu_basicsr.fit.state import RunState
from usrdu_basicsr.fit.steps import Steps
from usrdu_basicsr.ops.bootstrap import paired_interval
from usrdu_basicsr.utils.errors import InputError
from usrdu_basicsr.utils.files import write_text
from usrdu_basicsr.utils.images import read_image, to_8bit, write_png

NAMES = ('astronaut', 'chelsea', 'coffee', 'rocket')
SIDE = 200
# Constants of a run of a minute that are small in the test
SMALL = """
import sys
from usrdu_basicsr.fit import dataset, network, plan
dataset.SUB_IMAGES, dataset.SUB_IMAGE, network.MEASURED_SECONDS = (6, 6), 128, 0.0
plan.CAMERA_SECONDS, plan.GENERATE_SECONDS, plan.FINISH_SECONDS = (4, 0), (2, 0), 1.0
plan.MIN_ITERATIONS = 1
from usrdu_basicsr.cli.main import main
sys.argv[0] = 'usrdu'
main()
"""


@pytest.fixture(scope='module')
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with `hr` and `camera`, whose images have noise of 4 gray levels and blur."""
    folder = tmp_path_factory.mktemp('images')
    camera = SimulatedCamera(2, gaussian_kernel(1.2, 1.2, 0, 2))
    rng = np.random.default_rng(0)
    for number in range(6):
        scene = np.roll(sample_image(NAMES[number % 4], SIDE, SIDE), 20 * number, axis=0)
        write_png(folder / 'hr' / f'{number}.png', scene)
        lr = camera.downsample(np.roll(scene, 90, axis=1).astype(np.float32) / 255)
        write_png(folder / 'camera' / f'{number}.png', to_8bit(lr + rng.normal(0, 4 / 255, lr.shape)))
    return folder


def arguments(*more: str) -> list[str]:
    images = ('--hr', 'hr', '--lr', 'camera', '--scale', '2')
    return ['-c', SMALL, 'fit', *images, '--device', 'cpu', '--time', '30s', *more]


def kill_after(folder: Path, text: str) -> str:
    """Start a run, and kill it with SIGKILL once it has printed a text; return what it had printed."""
    environment = {**os.environ, 'PYTHONPATH': str(ROOT), 'USRDU_BASICSR_HOOK': '0', 'OMP_NUM_THREADS': '1'}
    command = [sys.executable, '-u', *arguments()]
    printed = ''
    with subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout:
            printed += line
            if text in line:
                time.sleep(0.5)
                process.send_signal(signal.SIGKILL)
                break
    return printed


class Page(HTMLParser):
    """Tags and addresses of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list) -> None:
        self.tags.append(tag)
        self.addresses += [value for name, value in attrs if name in ('src', 'href', 'action', 'data')]


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != 'linux', reason='kills with the signals of Linux')
def test_a_run_that_is_killed_in_each_step_ends_as_any_other(folders: Path):
    run = folders / 'runs' / 'camera'
    for text in ('$ usrdu camera', '$ usrdu generate', '$ usrdu train', '$ usrdu upscale'):
        assert text in kill_after(folders, text)
        assert not (run / 'report.html').exists()
    result = run_python(*arguments(), cwd=folders)
    assert result.returncode == 0, result.stdout + result.stderr
    assert 'Finished after ' in result.stdout and '$ usrdu camera' not in result.stdout

    # The network is the best checkpoint, and the exported weights are its averaged ones
    weights = torch.load(run / 'model.pth', weights_only=True)['params_ema']
    exported = load_file(run / 'export' / 'model.safetensors')
    assert all(torch.equal(value, exported[name]) for name, value in weights.items())
    for path in (run / 'data' / 'held_back').iterdir():
        assert read_image(run / 'upscaled' / 'held_back' / path.name).shape[0] == 2 * read_image(path).shape[0]

    text = (run / 'report.html').read_text(encoding='utf-8')
    page = Page(text)
    assert len(text) < 5e6 and all(address.startswith('data:') for address in page.addresses)
    assert page.tags.count('input') == len(list((run / 'data' / 'held_back').iterdir())) == 1
    for part in ('bicubic upscaling', 'Warnings', 'Blur kernel', '<polyline', 'usrdu upscale', 'total_iter', 'SHA-256'):
        assert part in text
    card = (run / 'export' / 'model_card.md').read_text(encoding='utf-8')
    assert 'trained without pairs' in card and '| PSNR, dB |' in card
    described = json.loads((run / 'export' / 'model.json').read_text(encoding='utf-8'))
    assert (described['scale'], described['architecture'], described['size']) == (2, 'compact', ['32nf', '8nc'])

    again = run_python(*arguments(), cwd=folders)
    assert again.returncode == 0 and again.stdout == "Finished already: see 'runs/camera/report.html'\n"


# Method and an output of each step
STEPS = {
    'data': ('write_data', 'data/dataset.json'),
    'camera': ('measure_camera', 'camera/net_g_camera.pth'),
    'stage_1': ('train_stage_1', 'experiments/dsn/models/net_g_1.pth'),
    'generate': ('generate', 'generated/lr/0.png'),
    'training': ('train_stage_2', 'model.pth'),
    'results': ('write_results', 'report.html'),
}
AUTO = [step for step in STEPS if step != 'stage_1']
CHANGES: dict[str, tuple[dict, list[str]]] = {
    'time': ({'seconds': 99}, ['training', 'results']),
    'network': ({'network': 'rrdb'}, ['training', 'results']),
    'file of a network': ({'network': 'hr/0.png'}, ['training', 'results']),
    'preset': ({'preset': 'published'}, ['stage_1', 'generate', 'training', 'results']),
    'scale': ({'scale': 4}, AUTO),
    'verbosity': ({'verbose': True}, []),
}


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the steps that ran, which write one output each instead of their results."""
    ran: list[str] = []

    def run_step(work: Steps, name: str, output: str) -> None:
        ran.append(name)
        write_text(work.folder / output, name)

    for name, (method, output) in STEPS.items():
        monkeypatch.setattr(Steps, method, lambda self, plan, name=name, output=output: run_step(self, name, output))
    plan = SimpleNamespace(selection=SimpleNamespace(notes=[]), rows=list)
    monkeypatch.setattr(Fit, '_plan', lambda self, todo: plan)
    return ran


@pytest.mark.parametrize('change', CHANGES)
def test_changed_arguments_rerun_the_steps_that_depend_on_them(
    folders: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ran: list[str], change: str
):
    monkeypatch.chdir(folders)
    request = Request(Path('hr'), Path('camera'), tmp_path / 'run', 2, 60)
    output = StringIO()
    for each, expected in (
        (request, AUTO),
        (request, []),
        (replace(request, **CHANGES[change][0]), CHANGES[change][1]),
    ):
        ran.clear()
        Fit(each, Progress(output)).run()
        assert ran == expected
    assert output.getvalue().count('Finished already') == 1 + (not CHANGES[change][1])
    settings = json.loads((tmp_path / 'run' / 'fit.json').read_text())['settings']
    assert settings['scale'] == CHANGES[change][0].get('scale', 2) and settings['hr'] == str(folders / 'hr')


@pytest.mark.parametrize('killed', ['camera', 'training', 'results'])
def test_a_resumed_run_needs_no_minimal_time_but_another_time_does(folders: Path, tmp_path: Path, killed: str):
    """All of the promised time was spent, in a step that was killed."""
    request = Request(folders / 'hr', folders / 'camera', tmp_path / 'run', 2, 60, device='cpu')
    fit = Fit(request, Progress(StringIO()))
    for step in AUTO[: AUTO.index(killed)]:
        fit.state.finish(step, 'a')
    fit.state.start(killed, 'a')
    fit.state.seconds[killed], fit.state.settings = 60, {'seconds': 60}
    todo = [step for step in fit._steps() if step.name in AUTO[AUTO.index(killed) :]]
    plan = fit._plan(todo)
    assert plan.seconds['training'] == 0 and plan.remaining == [step.name for step in todo]
    fit.state.settings = {'seconds': 30}
    with pytest.raises(InputError, match='--time: got 60s, expected at least'):
        fit._plan(todo)


def test_results_of_other_arguments_are_removed_before_the_first_step(
    folders: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ran: list[str]
):
    request = Request(folders / 'hr', folders / 'camera', tmp_path / 'run', 2, 60)
    Fit(request, Progress(StringIO())).run()

    def stop(self: Steps, plan: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Steps, 'train_stage_1', stop)
    output = StringIO()
    with pytest.raises(KeyboardInterrupt):
        Fit(replace(request, preset='published'), Progress(output)).run()
    left = {path.relative_to(tmp_path / 'run').as_posix() for path in (tmp_path / 'run').rglob('*') if path.is_file()}
    assert left == {'.lock', 'fit.json', 'data/dataset.json', 'camera/net_g_camera.pth'}
    assert output.getvalue().endswith('Stopped. The same command resumes the run\n')


DELETED: dict[str, tuple[tuple[str, ...], list[str]]] = {
    'report': (('report.html',), ['results']),
    'network': (('model.pth',), ['training', 'results']),
    'images and report': (('data', 'report.html'), AUTO),
    'images that a finished run does not need': (('data', 'generated'), []),
}


@pytest.mark.parametrize('what', DELETED)
def test_deleted_results_are_made_again(folders: Path, tmp_path: Path, ran: list[str], what: str):
    request = Request(folders / 'hr', folders / 'camera', tmp_path / 'run', 2, 60)
    Fit(request, Progress(StringIO())).run()
    ran.clear()
    paths, expected = DELETED[what]
    for path in (tmp_path / 'run' / each for each in paths):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    fit = Fit(request, Progress(StringIO()))
    fit.state.seconds['training'] = 900
    fit.run()
    assert ran == expected
    assert (fit.state.seconds['training'] < 900) == (what == 'network')  # a new training gets its time again


def test_stage_1_that_was_stopped_early_generates(folders: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """It has checkpoints, but no `net_g_latest.pth`, which BasicSR writes after the last iteration."""
    commands: list[tuple] = []
    monkeypatch.setattr(Steps, '_command', lambda self, *arguments: commands.append(arguments))
    monkeypatch.setattr('usrdu_basicsr.fit.steps.write_preview', lambda folder, dsn: None)
    fit = Fit(Request(folders / 'hr', folders / 'camera', tmp_path / 'run', preset='published'), Progress(StringIO()))
    with pytest.raises(InputError, match='ended before the first checkpoint'):
        fit.work.generate(None)
    models = tmp_path / 'run' / 'experiments' / 'dsn' / 'models'
    models.mkdir(parents=True)
    for iteration in (90, 100):
        (models / f'net_g_{iteration}.pth').touch()
    fit.work.generate(None)
    assert Path('experiments/dsn/models/net_g_100.pth') in commands[0]


@pytest.mark.parametrize(('spent', 'expected'), [(5, 20), (10, 20), (25, 50)])
def test_results_get_more_time_where_commands_are_slow(tmp_path: Path, spent: float, expected: float):
    fit = Fit(Request(Path('hr'), Path('camera'), tmp_path / 'run', seconds=300), Progress(StringIO()))
    fit.state.seconds |= {'camera': spent - 2, 'generate': 2}
    plan = SimpleNamespace(seconds={'camera': 8, 'generate': 2, 'results': 20})
    budget = fit.work._budget(plan, 0.1)
    assert budget.results == expected
    left = budget.deadline - time.monotonic()
    assert left == pytest.approx(300 - expected - fit.stopwatch.spent(), abs=0.5)
    assert fit.stopwatch.spent() > spent


def test_results_of_other_inputs_are_removed_and_those_of_a_killed_step_are_kept(tmp_path: Path):
    state = RunState(tmp_path / 'run')
    assert not state.is_stale('camera', 'a')
    state.start('camera', 'a')
    state.spend('camera', 5)
    state = RunState(tmp_path / 'run')
    assert not state.is_finished('camera', 'a') and not state.is_stale('camera', 'a') and state.is_stale('camera', 'b')
    state.finish('camera', 'a')
    state = RunState(tmp_path / 'run')
    assert state.is_finished('camera', 'a') and not state.is_finished('camera', 'b') and state.seconds == {'camera': 5}
    state.remove('camera')
    assert all(RunState(tmp_path / 'run').is_stale('camera', key) for key in 'ab')  # killed while it was removed
    (tmp_path / 'run' / 'fit.json').write_text('{')
    with pytest.raises(InputError, match=r"fit.json' is corrupt\. Remove the folder"):
        RunState(tmp_path / 'run')


def test_time_of_removed_results_is_not_spent(tmp_path: Path):
    state = RunState(tmp_path / 'run')
    spent = {'plan': 9, 'data': 1, 'camera': 20, 'stage_1': 600, 'training': 900}
    for step in ('data', 'camera', 'stage_1', 'training'):
        state.finish(step, 'a')
    keys = {'data': 'a', 'camera': 'a', 'training': 'a'}
    for changed, left in (
        ({'stage_1': 'a'}, spent),
        ({}, {'data': 1, 'camera': 20, 'training': 900}),
        ({'training': 'b'}, {'data': 1, 'camera': 20}),
    ):
        state.seconds = dict(spent)
        state.forget_time(keys | changed)
        assert state.seconds == left


def test_a_run_that_was_killed_before_its_first_record_starts(tmp_path: Path):
    (tmp_path / '.fit.json.1a2b.tmp').touch()
    assert RunState(tmp_path).keys == {}


def test_the_run_of_another_camera_is_not_removed(folders: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(folders)
    request = Request(Path('hr'), Path('camera'), tmp_path / 'run')
    fit = Fit(request, Progress(StringIO()))
    fit.state.settings = {'hr': 'hr', 'lr': 'other'}
    with pytest.raises(InputError, match=r"has a run of --lr '.*/other', expected '.*/camera'"):
        fit.run()


def test_a_run_of_another_device_is_not_removed(folders: Path, tmp_path: Path, ran: list[str]):
    request = Request(folders / 'hr', folders / 'camera', tmp_path / 'run', 2, 60)
    fit = Fit(request, Progress(StringIO()))
    fit.device = torch.device('cuda:1')
    fit.run()
    with pytest.raises(InputError, match=r"got 'cpu', but the run in '.*' is on 'cuda'\. Pass --device cuda to"):
        Fit(request, Progress(StringIO())).run()
    assert (tmp_path / 'run' / 'model.pth').exists()
    ran.clear()
    Fit(replace(request, device='cpu'), Progress(StringIO())).run()
    assert ran == ['training', 'results']


def test_two_processes_do_not_write_into_one_run(folders: Path, tmp_path: Path, ran: list[str]):
    (tmp_path / 'run').mkdir()
    code = (
        "import fcntl, sys; file = open(sys.argv[1], 'w'); fcntl.lockf(file, fcntl.LOCK_EX)"
        "; print('locked', flush=True); input()"
    )
    command = [sys.executable, '-c', code, tmp_path / 'run' / '.lock']
    fit = Fit(Request(folders / 'hr', folders / 'camera', tmp_path / 'run', 2, 60), Progress(StringIO()))
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == 'locked\n'
        with pytest.raises(InputError, match=r"-o: another usrdu fit is writing into '.*run'\. Wait for it, or"):
            fit.run()
        other.communicate('\n')
    assert not ran


def test_folders_that_a_killed_run_left_are_removed(folders: Path, tmp_path: Path, ran: list[str]):
    left = tmp_path / 'run' / f'.data.{"0" * 32}.tmp'
    (left / 'HR').mkdir(parents=True)
    Fit(Request(folders / 'hr', folders / 'camera', tmp_path / 'run', 2, 60), Progress(StringIO())).run()
    assert ran and not left.exists()


def test_resumed_stage_1_ends_as_it_would_have(tmp_path: Path):
    fit = Fit(Request(Path('hr'), Path('camera'), tmp_path / 'run', seconds=1800), Progress(StringIO()))
    plan, fit.stopwatch.step = SimpleNamespace(seconds={'camera': 8, 'generate': 2, 'results': 20}), 'stage_1'
    first, spent = fit.work._budget(plan, 0.1, 0.4), fit.stopwatch.spent()
    assert first.deadline - time.monotonic() == pytest.approx(0.4 * (1780 - spent), abs=0.5)
    fit.state.seconds['stage_1'] = 600
    assert fit.work._budget(plan, 0.1, 0.4).deadline == pytest.approx(first.deadline - 600, abs=0.5)


def test_files_that_are_no_images_change_nothing(folders: Path, tmp_path: Path):
    shutil.copytree(folders / 'hr', tmp_path / 'hr')
    fit = Fit(Request(tmp_path / 'hr', tmp_path / 'none', tmp_path / 'run'), Progress(StringIO()))
    inputs = fit._inputs()
    (tmp_path / 'hr' / '.DS_Store').touch()
    assert fit._inputs() == inputs
    os.utime(tmp_path / 'hr' / '0.png', ns=(1, 1))
    assert fit._inputs() != inputs


def test_best_network_is_kept_while_it_trains(tmp_path: Path):
    fit = Fit(Request(Path('hr'), Path('camera'), tmp_path / 'run'), Progress(StringIO()))
    experiment = tmp_path / 'run' / 'experiments' / 'srn'
    (experiment / 'models').mkdir(parents=True)
    fit.work._keep_best()
    assert not (tmp_path / 'run' / 'model.pth').exists()
    for iteration, psnr, best in ((10, 20, b'10'), (20, 22, b'20'), (30, 21, b'20')):
        (experiment / 'models' / f'net_g_{iteration}.pth').write_bytes(str(iteration).encode())
        with open(experiment / 'validation.jsonl', 'a') as file:
            file.write(json.dumps({'iter': iteration, 'dataset': 'validation', 'metrics': {'psnr': psnr}}) + '\n')
        fit.work._keep_best()
        assert (tmp_path / 'run' / 'model.pth').read_bytes() == best


def test_a_published_model_is_copied_to_the_run(tmp_path: Path):
    source = tmp_path / 'model.safetensors'
    (tmp_path / 'blob').write_bytes(b'weights')
    source.symlink_to(tmp_path / 'blob')
    request = Request(Path('hr'), Path('camera'), tmp_path / 'run', network=str(source))
    fit = Fit(request, Progress(StringIO()))
    fit.folder.mkdir()
    network = fit.work._own_network(Network({'type': 'SpandrelArch', 'path': str(source)}, 1e-4))
    assert network.options['path'] == 'network.safetensors'
    assert (tmp_path / 'run' / 'network.safetensors').read_bytes() == b'weights'
    before = fit._network_file()
    os.utime(tmp_path / 'blob', ns=(1, 1))
    assert before is not None and fit._network_file() != before


def test_progress_at_a_terminal_and_elsewhere():
    plain, terminal = StringIO(), StringIO()
    terminal.isatty = lambda: True
    for stream in (plain, terminal):
        progress = Progress(stream)
        for text in ('50 %', '100 %'):
            progress.live(text)
        progress.line('done')
    assert plain.getvalue() == '50 %\ndone\n'
    assert terminal.getvalue() == '50 %\r    \r100 %\r     \rdone\n'


def test_output_of_a_command_is_in_the_log_and_its_failure_names_the_last_line(tmp_path: Path):
    with Command(['export', '--model_path', 'none.pth', '-o', 'out'], tmp_path, tmp_path / 'log.txt') as command:
        lines = [line for line in command.lines() if line]
    assert command.process.returncode == 1
    assert lines[-1].startswith("error: checkpoint 'none.pth' does not exist")
    assert lines[-1] in str(command.failure()) and lines[-1] in (tmp_path / 'log.txt').read_text()


ENDLESS = """
import sys, time
from pathlib import Path
from usrdu_basicsr.fit.command import Command
sys.executable = './endless'
print(Command([], Path(), Path('log.txt')).process.pid, flush=True)
time.sleep(600)
"""


@pytest.mark.skipif(sys.platform != 'linux', reason='needs a signal of Linux')
def test_a_command_ends_with_its_parent(tmp_path: Path):
    (tmp_path / 'endless').write_text('#!/bin/sh\nexec sleep 600\n')
    (tmp_path / 'endless').chmod(0o755)
    environment = {**os.environ, 'PYTHONPATH': str(ROOT), 'USRDU_BASICSR_HOOK': '0'}
    command = [sys.executable, '-c', ENDLESS]
    with subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True) as parent:
        child = psutil.Process(int(parent.stdout.readline()))
        parent.kill()
    psutil.wait_procs([child], timeout=10)
    assert not child.is_running() or child.status() == psutil.STATUS_ZOMBIE


def test_folder_of_another_content_is_an_error(folders: Path):
    result = run_python(*arguments('-o', 'hr'), cwd=folders)
    assert result.returncode == 1
    assert result.stderr == "error: -o: 'hr' has files, but is no run of usrdu fit. Choose another folder\n"


def test_too_short_time_is_an_error(folders: Path):
    result = run_python('-m', 'usrdu_basicsr', *arguments('--time', '5s', '-o', 'short')[2:], cwd=folders)
    assert result.returncode == 1 and 'error: --time: got 5s, expected at least ' in result.stderr
    assert not (folders / 'short').exists()


def test_report_of_no_run_is_an_error(tmp_path: Path):
    result = run_python('-m', 'usrdu_basicsr', 'report', '.', cwd=tmp_path)
    assert result.returncode == 1 and result.stderr.startswith("error: run '.' with its 'fit.json' does not exist")


def test_interval_of_the_normal_distribution():
    assert paired_interval(np.full((1, 9), 0.5), np.zeros((1, 9)))[1:] == (0.5, 0.5)
    differences = np.random.default_rng(0).normal(1, 2, (1, 400))
    _, low, high = paired_interval(differences, np.zeros((1, 400)))
    assert low < 1 < high and high - low == pytest.approx(2 * 1.96 * 2 / 20, rel=0.1)
