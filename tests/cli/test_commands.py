"""Every command of `usrdu` on real files."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from experiments import options, write_data
from published import dsn_file
from python_process import ROOT, check_script, run_script
from usrdu_basicsr.archs.dsn_arch import UncertaintyDSN
from usrdu_basicsr.storage.meta_info import read_meta_info

USRDU = ('-m', 'usrdu_basicsr')
CPU = ('--device', 'cpu')
# `usrdu` without the check for collapsed runs, as all runs of few iterations are collapsed
ACCEPT_COLLAPSED_RUNS = """
from usrdu_basicsr.cli.main import main
from usrdu_basicsr.kernelgan import postprocess
postprocess.COLLAPSED_SUM_ERROR = float('inf')
main()
"""


@pytest.fixture(scope='module')
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images, and an SRN trained with `usrdu train`."""
    folder = tmp_path_factory.mktemp('commands')
    write_data(folder)
    opt = options('srn', 'srn', workers=0)
    opt['train']['total_iter'] = 3
    (folder / 'train.yml').write_text(json.dumps(opt))
    arguments = ('-opt', 'train.yml', '--force_yml', 'train:total_iter=2', 'logger:save_checkpoint_freq=2')
    result = run_script(*USRDU, 'train', *arguments, cwd=folder, CUDA_VISIBLE_DEVICES='')
    assert result.returncode == 0, result.stderr
    assert 'iter:       2' in result.stderr and 'iter:       3' not in result.stderr
    return folder


def image(path: Path) -> np.ndarray:
    pixels = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    assert pixels is not None, path
    return pixels


def network(folder: Path) -> Path:
    return folder / 'experiments' / 'srn' / 'models' / 'net_g_latest.pth'


def test_train(folder: Path):
    assert {path.name for path in network(folder).parent.iterdir()} == {
        f'net_{net}_{step}.pth' for net in 'gd' for step in ('2', 'latest')
    }
    command = (folder / 'experiments' / 'srn' / 'train.yml').read_text().splitlines()[2]
    assert command.startswith('# usrdu train -opt train.yml --force_yml train:total_iter=2')
    result = run_script(*USRDU, 'train', '-opt', 'train.yml', '--auto_resume', cwd=folder, CUDA_VISIBLE_DEVICES='')
    assert result.returncode == 0, result.stderr
    assert 'iter: 2.' in result.stderr and 'iter:       3' in result.stderr and 'iter:       1,' not in result.stderr


def test_test(folder: Path):
    opt = options('tested', 'srn')
    opt['datasets'] = {'test_1': opt['datasets']['val']}
    opt['path'] = {'pretrain_network_g': str(network(folder))}
    opt['val'] |= {'save_img': True, 'suffix': None}
    for key in ('train', 'logger', 'network_d'):
        del opt[key]
    (folder / 'test.yml').write_text(json.dumps(opt))
    check_script(*USRDU, 'test', '-opt', 'test.yml', cwd=folder, CUDA_VISIBLE_DEVICES='')
    assert '# psnr:' in next((folder / 'results' / 'tested').glob('test_*.log')).read_text()
    images = folder / 'results' / 'tested' / 'visualization' / 'pairs'
    assert image(images / 'astronaut_tested.png').shape == (80, 96, 3)


def test_upscale(folder: Path):
    arguments = ('-i', 'camera', '--model_path', network(folder), *CPU, '-o')
    output = check_script(*USRDU, 'upscale', *arguments, 'upscaled', cwd=folder)
    assert output == '3 written, 0 skipped (already exist), 0 failed\n'
    check_script(ROOT / 'scripts' / 'inference.py', *arguments, 'upscaled_by_script', cwd=folder)
    for path in (folder / 'camera').iterdir():
        result = image(folder / 'upscaled' / path.name)
        assert result.shape == (96, 128, 3)
        assert np.array_equal(result, image(folder / 'upscaled_by_script' / path.name))


def test_generate(folder: Path):
    torch.save({'params': UncertaintyDSN(num_feat=4, num_block=1, scale=4).state_dict()}, folder / 'dsn.pth')
    arguments = ('-i', 'hr', '-o', 'generated', '--model_path', 'dsn.pth', *CPU)
    output = check_script(*USRDU, 'generate', *arguments, cwd=folder)
    assert output == '3 written, 0 skipped (already exist), 0 failed\n'
    assert image(folder / 'generated' / 'lr' / 'astronaut.png').shape == (20, 24, 3)
    assert np.load(folder / 'generated' / 'log_scale' / 'astronaut.npy').shape == (20, 24, 3)


def test_kernels(folder: Path):
    (folder / 'kernels.py').write_text(ACCEPT_COLLAPSED_RUNS)
    (folder / 'one').mkdir()
    cv2.imwrite(str(folder / 'one' / 'a.png'), cv2.resize(image(folder / 'hr' / 'astronaut.png'), (96, 96)))
    arguments = ('-i', 'one', '-o', 'kernels', '--runs', '1', '--iterations', '2', *CPU)
    output = check_script(folder / 'kernels.py', 'kernels', *arguments, cwd=folder)
    assert output == '1 written, 0 skipped (already exist), 0 too small, 0 failed\n'
    assert np.load(folder / 'kernels' / 'x4' / 'a.npy').sum() == pytest.approx(1, abs=1e-5)


def test_check(folder: Path):
    arguments = ('check', '--gt', 'hr', '--lq', 'camera', '--workers', '1')
    assert check_script(*USRDU, *arguments, cwd=folder).endswith('0 problems\n')
    result = run_script(*USRDU, *arguments, '--gt_size', '1000', cwd=folder)
    assert result.returncode == 1 and 'PROBLEM: ' in result.stdout
    assert check_script(*USRDU, 'check', '-opt', 'train.yml', '--workers', '1', cwd=folder).endswith('0 problems\n')


def test_lmdb(folder: Path):
    assert check_script(*USRDU, 'lmdb', '-i', 'hr', '-o', 'hr.lmdb', '--workers', '1', cwd=folder) == 'hr.lmdb\n'
    assert len(read_meta_info(folder / 'hr.lmdb' / 'meta_info.txt')) == 3


def test_subimages(folder: Path):
    arguments = ('-i', 'hr', '-o', 'sub', '--crop', '64', '--step', '32', '--workers', '1')
    assert check_script(*USRDU, 'subimages', *arguments, cwd=folder) == '12 sub-images in sub\n'
    first = image(sorted((folder / 'sub').glob('astronaut*'))[0])
    assert np.array_equal(first, image(folder / 'hr' / 'astronaut.png')[:64, :64])


@pytest.mark.slow
def test_convert(tmp_path: Path):
    torch.save(dsn_file(), tmp_path / 'track1.pth')
    output = check_script(*USRDU, 'convert', '-i', 'track1.pth', '-o', 'out', cwd=tmp_path)
    assert 'out/track1_dsn.pth: UncertaintyDSN, scale 4, ' in output
    assert 'params' in torch.load(tmp_path / 'out' / 'track1_dsn.pth', weights_only=True)


def test_export(folder: Path):
    safetensors = pytest.importorskip('safetensors.torch')
    arguments = ('--model_path', network(folder), '-o', 'exported', '--format', 'safetensors')
    assert 'differs from PyTorch by at most 0.0e+00' in check_script(*USRDU, 'export', *arguments, cwd=folder)
    exported = safetensors.load_file(folder / 'exported' / 'net_g_latest.safetensors')
    checkpoint = torch.load(network(folder), weights_only=True)
    weights = checkpoint.get('params_ema', checkpoint['params'])
    assert exported.keys() == weights.keys()
    assert all(torch.equal(exported[name], value) for name, value in weights.items())
