"""README and docs: the marked command blocks run as written, and links and paths point to existing files.

A block is marked by `<!-- test: NAME -->` on the line before its fence. The blocks of a file with the same NAME run in
order in one shell, in a folder with the scripts, the options and small images.
"""

import os
import re
import shutil
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from multiprocessing.connection import Listener
from pathlib import Path
from threading import Thread

import cv2
import pytest
import torch
from basicsr.archs.srvgg_arch import SRVGGNetCompact

from python_process import ROOT, check_script, run_script
from sample_images import downsample_images, sample_image, write_sample_images
from usrdu_basicsr.archs.dsn_arch import UncertaintyDSN

PAGES = [ROOT / 'README.md', ROOT / 'CHANGELOG.md', *sorted((ROOT / 'docs').glob('*.md'))]
BLOCK = re.compile(r'<!-- test: ([\w-]+) -->\n```(bash|python)\n(.*?)```', re.DOTALL)
LINK = re.compile(r'\]\((?!https?:)([^)\s#]*)(?:#([^)\s]+))?\)')
PATH = re.compile(r'(?<![\w/.-])(?:scripts|options|usrdu_basicsr|tests|docs)/[\w./*$-]*[\w*/]')
MODULE = re.compile(r'`((?:\w+/)+\w+\.py)(?:: (\w+))?`')

# Arguments that keep a command small
TRAINING = ['--force_yml', 'train:total_iter=2', 'datasets:train:batch_size_per_gpu=2']
KERNELS = ['--iterations', '2', '--runs', '1']
# The script without the check for collapsed runs, as all runs of few iterations are collapsed
ESTIMATE = """
import runpy
from usrdu_basicsr.kernelgan import postprocess
postprocess.COLLAPSED_SUM_ERROR = float('inf')
runpy.run_path('scripts/estimate_kernels.py', run_name='__main__')
"""
# `python` of the shell: sends its arguments to the test process, which runs them in a fork of the script server
CLIENT = """#!{python} -IS
import os, sys
from multiprocessing.connection import Client
with Client({address!r}) as server:
    server.send(({arguments!r} + sys.argv[1:], os.getcwd()))
    status, stdout, stderr = server.recv()
sys.stdout.write(stdout)
sys.stderr.write(stderr)
sys.exit(status)
"""


BLOCKS = defaultdict(list)  # language and text of the blocks by page and name
for _page in PAGES:
    for _name, *_block in BLOCK.findall(_page.read_text()):
        BLOCKS[_page.stem, _name].append(_block)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Folder like a checkout, with the images that the blocks use."""
    (tmp_path / 'scripts').symlink_to(ROOT / 'scripts')
    shutil.copytree(ROOT / 'options', tmp_path / 'options')
    images = tmp_path / 'datasets' / 'mine'
    write_sample_images(images / 'HR', 2, 144, 160)
    write_sample_images(images / 'camera', 2, 90, 96)
    write_sample_images(images / 'validation' / 'HR', 1)
    downsample_images(images / 'validation' / 'HR', images / 'validation' / 'camera')
    for name in ('hr.png', 'small.png'):
        cv2.imwrite(str(tmp_path / name), sample_image(height=32, width=32))
    return tmp_path


def with_small_budget(arguments: list[str], folder: Path) -> list[str]:
    """Arguments of `python` with few iterations."""
    if arguments[:2] == ['-m', 'basicsr.train'] or arguments[:3] == ['-m', 'usrdu_basicsr', 'train']:
        return arguments + TRAINING
    if arguments[0] == 'scripts/estimate_kernels.py':
        (folder / 'estimate.py').write_text(ESTIMATE)
        return ['estimate.py', *arguments[1:], *KERNELS]
    return arguments


@pytest.fixture
def bin_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Folder with `python` and `usrdu`, which start without importing PyTorch and BasicSR."""

    def serve() -> None:
        while True:
            with listener.accept() as connection:
                arguments, cwd = connection.recv()
                if not arguments:
                    return
                command = with_small_budget(arguments, Path(cwd))
                result = run_script(*command, cwd=Path(cwd), CUDA_VISIBLE_DEVICES='')
                connection.send((result.returncode, result.stdout, result.stderr))

    with Listener() as listener:
        folder = tmp_path_factory.mktemp('bin')
        for name, arguments in (('python', []), ('usrdu', ['-m', 'usrdu_basicsr'])):
            client = CLIENT.format(python=sys.executable, address=listener.address, arguments=arguments)
            (folder / name).write_text(client)
            (folder / name).chmod(0o755)
        thread = Thread(target=serve, daemon=True)
        thread.start()
        yield folder
        subprocess.run([folder / 'python'], capture_output=True)  # without arguments, it stops the thread
        thread.join(10)


def run_blocks(blocks: list[list[str]], folder: Path, bin_folder: Path) -> str:
    """Run the blocks in one shell, which must succeed, and return its standard output."""
    script = ['set -euo pipefail']
    for index, (language, text) in enumerate(blocks):
        if language == 'python':
            (folder / f'block_{index}.py').write_text(text)
        script.append(f'python block_{index}.py' if language == 'python' else text)
    environment = os.environ | {'PATH': f'{bin_folder}{os.pathsep}{os.environ["PATH"]}'}
    result = subprocess.run(
        ['bash', '-c', '\n'.join(script)], cwd=folder, env=environment, capture_output=True, text=True, timeout=300
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


@pytest.mark.slow
@pytest.mark.parametrize(('page', 'name'), [('README', 'quickstart'), ('quickstart', 'own-data')])
def test_own_data_from_training_to_inference(page: str, name: str, checkout: Path, bin_folder: Path):
    output = run_blocks(BLOCKS[page, name], checkout, bin_folder)
    assert output.count('2 written') == 2  # LR images, results
    assert (checkout / 'datasets/mine/generated/generation.json').is_file()
    hr, result = (
        cv2.imread(str(checkout / path)) for path in ('datasets/mine/camera/chelsea.png', 'results/mine/chelsea.png')
    )
    assert result.shape == (4 * hr.shape[0], 4 * hr.shape[1], 3)
    assert ('0 problems' in output) == (page == 'quickstart')
    if page == 'README':
        assert cv2.imread(str(checkout / 'large.png')).shape == (128, 128, 3)


@pytest.mark.slow
def test_quoted_error_message(checkout: Path):
    message = re.search(r'`error: (.+)`', (ROOT / 'README.md').read_text()).group(1)
    folders = ('--hr', 'datasets/mine/HR', '--lr', 'datasets/mine/camera')
    check_script('-m', 'usrdu_basicsr', 'recipes', 'copy', 'demo', *folders, '-o', 'my_options', cwd=checkout)
    options = checkout / 'my_options/train_dsn.yml'
    options.write_text(options.read_text().replace('use_hflip', 'use_flip'))
    result = run_script('-m', 'basicsr.train', '-opt', 'my_options/train_dsn.yml', cwd=checkout)
    assert result.returncode == 1 and message in result.stderr, result.stderr
    assert not (checkout / 'experiments').exists()


@pytest.mark.slow
def test_dataset_commands(checkout: Path, bin_folder: Path):
    torch.save({'params': UncertaintyDSN(num_feat=4, num_block=1, scale=4).state_dict()}, checkout / 'dsn.pth')
    arguments = ['-i', 'datasets/mine/HR', '-o', 'datasets/mine/generated', '--model_path', 'dsn.pth']
    check_script(ROOT / 'scripts/generate_lr.py', *arguments, cwd=checkout)
    output = run_blocks(BLOCKS['datasets', 'datasets'], checkout, bin_folder)
    assert output.count('0 problems') == 2
    folder = checkout / 'datasets/mine'
    assert {str(path.parent.relative_to(folder)) for path in folder.rglob('*.lmdb/meta_info.txt')} == {
        *('HR.lmdb', 'HR_sub.lmdb', 'camera_sub.lmdb', 'generated/lr.lmdb', 'generated/log_scale.lmdb'),
        *('sub/hr.lmdb', 'sub/lr.lmdb', 'sub/log_scale.lmdb'),
    }


def test_inference_command(checkout: Path, bin_folder: Path):
    checkpoint = checkout / 'experiments/my_srn/models/net_g_latest.pth'
    checkpoint.parent.mkdir(parents=True)
    torch.save({'params': SRVGGNetCompact(num_feat=4, num_conv=1, upscale=4).state_dict()}, checkpoint)
    output = run_blocks(BLOCKS['inference', 'inference'], checkout, bin_folder)
    assert '2 written' in output


def test_kernel_command(checkout: Path, bin_folder: Path):
    output = run_blocks(BLOCKS['kernelgan', 'kernelgan'], checkout, bin_folder)
    assert '2 written' in output
    assert len(list((checkout / 'datasets/mine/kernels/x4').glob('*.npy'))) == 2


def test_every_marked_block_is_run():
    assert set(BLOCKS) == {
        ('README', 'quickstart'),
        ('quickstart', 'own-data'),
        ('datasets', 'datasets'),
        ('inference', 'inference'),
        ('kernelgan', 'kernelgan'),
    }
    markers = sum(page.read_text().count('<!-- test:') for page in PAGES)
    assert sum(map(len, BLOCKS.values())) == markers


def anchors(page: Path) -> set[str]:
    """Anchors that GitHub gives the headings of a page."""
    headings = re.findall(r'^#+ (.+)$', re.sub(r'```.*?```', '', page.read_text(), flags=re.DOTALL), re.MULTILINE)
    return {re.sub(r'[^\w\- ]', '', heading.lower()).replace(' ', '-') for heading in headings}


@pytest.mark.parametrize('page', PAGES, ids=lambda page: page.name)
def test_links_and_paths_exist(page: Path):
    text = page.read_text()
    for target, anchor in LINK.findall(text):
        path = page.parent / target if target else page
        assert path.exists(), target
        assert not anchor or anchor in anchors(path), f'{target}#{anchor}'
    for path in PATH.findall(text):
        pattern = re.sub(r'\$\w+', '*', path).rstrip('/')
        assert list(ROOT.glob(pattern)), path
    for path, symbol in MODULE.findall(text):
        modules = [module for module in (ROOT / path, ROOT / 'usrdu_basicsr' / path) if module.is_file()]
        assert modules, path
        assert not symbol or re.search(rf'^(def|class) {symbol}\b', modules[0].read_text(), re.MULTILINE), symbol


def test_index_lists_every_page():
    index = ROOT / 'docs' / 'index.md'
    listed = {target for target, _ in LINK.findall(index.read_text())}
    assert {page.name for page in index.parent.glob('*.md')} - {'index.md'} <= listed
