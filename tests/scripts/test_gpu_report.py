"""scripts/benchmarks/gpu.sh on the CPU: parts with time limits, figures, tables, and the page of the documentation."""

import json
import os
import shutil
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
import torch

from gpu_report import count_tests
from gpu_tables import BEGIN, END, NOT_MEASURED, tables, update_page
from parts import Part, run_parts
from python_process import ROOT
from usrdu_basicsr.utils.errors import InputError

PAGE = ROOT / 'docs' / 'benchmarks.md'


def python_part(name: str, code: str, seconds: float = 60, **environment: str) -> Part:
    return Part(name, [sys.executable, '-c', code], seconds, environment)


def test_a_failing_part_does_not_stop_the_others(tmp_path: Path):
    parts = [
        python_part('good', 'import os; print(os.environ["WORD"], os.getcwd())', WORD='hello'),
        python_part('bad', 'import sys; print("why"); sys.exit(3)'),
    ]
    results = run_parts(parts, tmp_path, time.monotonic() + 60)
    assert {name: result.result for name, result in results.items()} == {'good': 'passed', 'bad': 'exit status 3'}
    assert (tmp_path / 'good' / 'output.txt').read_text() == f'hello {tmp_path / "good"}\n'
    assert (tmp_path / 'bad' / 'output.txt').read_text() == 'why\n'


@pytest.mark.parametrize(('limit', 'until_deadline'), [(1, 60), (60, 1)])
def test_a_part_is_stopped_with_its_children(limit: float, until_deadline: float, tmp_path: Path):
    parts = [Part('slow', ['bash', '-c', 'sleep 100 & echo $! > pid; wait'], limit), Part('fast', ['true'], 60)]
    results = run_parts(parts, tmp_path, time.monotonic() + until_deadline)
    assert results['slow'].result.startswith('stopped after ') and results['fast'].result == 'passed'
    assert results['fast'].seconds < results['slow'].seconds and 0.9 < results['slow'].seconds < 30
    child = Path('/proc', (tmp_path / 'slow' / 'pid').read_text().strip(), 'stat')
    deadline = time.monotonic() + 30  # it dies only when a busy machine next runs it
    with suppress(FileNotFoundError, ProcessLookupError):  # it has ended
        while child.read_text().split()[2] != 'Z':
            assert time.monotonic() < deadline
            time.sleep(0.01)


JUNIT = """<testsuites><testsuite name="pytest">
<testcase classname="tests.a" name="one[cuda]"/>
<testcase classname="tests.a" name="two"><failure message="no">trace</failure></testcase>
<testcase classname="tests.b" name="three"><error message="no">trace</error></testcase>
<testcase classname="tests.b" name="four"><skipped message="no GPU"/></testcase>
</testsuite></testsuites>"""


def test_tests_are_counted(tmp_path: Path):
    (tmp_path / 'figures.xml').write_text(JUNIT)
    failures = ['tests.a::two', 'tests.b::three']
    assert count_tests(tmp_path / 'figures.xml') == {'passed': 1, 'failed': 2, 'skipped': 1, 'failures': failures}


def report() -> dict:
    """Report of a GPU on which the demo was stopped."""
    training = {'fp32': 0.4, 'bf16, channels last, compiled': 0.1}
    kernelgan = {'layer by layer': (20.0, 60.0), 'one kernel, batch 64': (0.1, 12000.0)}
    inference = [
        {'variant': 'published script', 'seconds': 2.0, 'megabytes': 100.4, 'psnr': None},
        {'variant': 'bf16, whole', 'seconds': 0.5, 'megabytes': 50.0, 'psnr': 52.83},
    ]
    figures = {
        'tests': {'passed': 40, 'failed': 1, 'skipped': 4, 'failures': ['a::b']},
        'demo': {},
        'kernelgan': {'variants': {k: {'milliseconds': a, 'images_per_hour': b} for k, (a, b) in kernelgan.items()}},
        'inference': {'size': [256, 384], 'variants': inference},
        'training': {
            'device': 'Some GPU',
            'stage 1': {name: {'seconds': seconds, 'megabytes': 2000} for name, seconds in training.items()},
            'stage 2': {'fp32': {'seconds': 0.4, 'megabytes': 1}, list(training)[1]: {'seconds': 0.2, 'megabytes': 2}},
        },
    }
    results = {'tests': ('exit status 1', 90.0), 'demo': ('stopped after 200 s', 200.3)}
    parts = {
        name: dict(zip(('result', 'seconds'), results.get(name, ('passed', 30.0)), strict=True)) | {'figures': values}
        for name, values in figures.items()
    }
    return {'machine': {'device': 'Some GPU', 'torch': '2.14'}, 'parts': parts, 'seconds': 480.6}


def test_tables_contain_the_figures():
    text = tables(report())
    for line in (
        '**Some GPU**, measured in 481 s (torch 2.14):',
        '| tests | exit status 1 (40 passed, 1 failed, 4 skipped) | 90 |',
        '| demo | stopped after 200 s | 200 |',
        '| stage 1: bf16, channels last, compiled, at least 3 times as fast as fp32 | 4.00× | yes |',
        '| stage 2: bf16, channels last, compiled, at least 3 times as fast as fp32 | 2.00× | no |',
        '| KernelGAN: at least 10000 images per hour, one run per image | 12000 | yes |',
        '| stage 1 | s | speed-up | MB |',
        '| bf16, channels last, compiled | 0.1000 | 4.00× | 2000 |',
        '| 256×384, published script | 2.0000 | 1.00× | 100 |  |',
        '| 256×384, bf16, whole | 0.5000 | 4.00× | 50 | 52.8 |',
        '| one kernel, batch 64 | 0.100 | 12000 | 200.0× |',
    ):
        assert line in text.splitlines(), line
    assert 'PSNR, dB | SSIM' not in text  # no figures of the demo
    demo = {
        'psnr': {'bicubic upscaling': 23.456},
        'ssim': {'bicubic upscaling': 0.61},
        'gain': 0.7,
        'noise_error': -0.04,
    }
    lines = tables(report() | {'parts': {'demo': {'result': 'passed', 'seconds': 99, 'figures': demo}}}).splitlines()
    assert lines[-2:] == [
        '| bicubic upscaling | 23.46 | 0.6100 |',
        '| gain +0.70 dB, noise level of samples -4% |  |  |',
    ]


def test_only_the_text_between_the_markers_is_replaced(tmp_path: Path):
    page = tmp_path / 'page.md'
    page.write_text(f'before\n{BEGIN}\nold\n{END}\nafter\n')
    update_page(page, None)
    assert page.read_text() == f'before\n{BEGIN}\n{NOT_MEASURED}\n{END}\nafter\n'
    update_page(page, report())
    assert page.read_text() == f'before\n{BEGIN}\n{tables(report())}\n{END}\nafter\n'
    page.write_text(f'before {BEGIN}')
    with pytest.raises(InputError, match='got no markers, expected'):
        update_page(page, None)


def test_the_page_is_current():
    path = PAGE.with_name('gpu.json')
    measured = json.loads(path.read_text()) if path.is_file() else None
    assert f'{BEGIN}\n{tables(measured)}\n{END}' in PAGE.read_text(), 'run bash scripts/benchmarks/gpu.sh'


def run_gpu_sh(folder: Path, *arguments: str) -> subprocess.CompletedProcess:
    shutil.copy(PAGE, folder)
    environment = {'PYTHON': sys.executable, 'PYTHONPATH': str(ROOT), 'OMP_NUM_THREADS': '1'}
    command = ['bash', ROOT / 'scripts' / 'benchmarks' / 'gpu.sh', '--docs', '.', '-o', 'report', *arguments]
    return subprocess.run(
        command, cwd=folder, env=os.environ | environment, capture_output=True, text=True, timeout=600
    )


@pytest.mark.slow
def test_report_of_the_smallest_settings(tmp_path: Path):
    result = run_gpu_sh(tmp_path, '--device', 'cpu', '--small', '--parts', 'kernelgan', 'inference')
    assert result.returncode == 0, result.stdout + result.stderr
    written = json.loads((tmp_path / 'gpu.json').read_text())
    assert written['machine']['torch'] == torch.__version__
    assert {name: part['result'] for name, part in written['parts'].items()} == {
        'kernelgan': 'passed',
        'inference': 'passed',
    }
    page = (tmp_path / PAGE.name).read_text()
    assert f'{BEGIN}\n{tables(written)}\n{END}' in page and NOT_MEASURED not in page
    assert '| 32×48, fp32, whole | ' in page and '| one kernel, batch 2 | ' in page
    again = run_gpu_sh(tmp_path, '--device', 'cpu', '--small', '--parts', 'kernelgan')
    assert again.returncode == 1 and "error: output 'report' already exists. Remove it" in again.stderr


@pytest.mark.slow
@pytest.mark.skipif(torch.cuda.is_available(), reason='needs a machine without a GPU')
def test_machine_without_a_gpu(tmp_path: Path):
    result = run_gpu_sh(tmp_path)
    assert result.returncode == 1
    assert "error: no report without a usable GPU: device 'cuda' is not available" in result.stderr
    assert not (tmp_path / 'report').exists() and NOT_MEASURED in (tmp_path / PAGE.name).read_text()
