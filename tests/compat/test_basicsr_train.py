"""BasicSR's training launcher with `SRModel`, a model of BasicSR, on a CPU."""

from pathlib import Path

import basicsr
import numpy as np
import pytest
import yaml
from basicsr.utils import imwrite

from python_process import INSTALL_HOOK, check_python

pytestmark = pytest.mark.slow


def test_training_and_resuming(tmp_path: Path):
    (tmp_path / 'images').mkdir()
    for name in 'ab':
        imwrite(np.random.default_rng(0).integers(0, 255, (32, 32, 3), np.uint8), str(tmp_path / f'images/{name}.png'))
    opt = {
        'name': 'tiny',
        'model_type': 'SRModel',
        'num_gpu': 'auto',
        'scale': 1,
        'datasets': {
            'train': {
                'name': 'train',
                'type': 'PairedImageDataset',
                'dataroot_gt': 'images',
                'dataroot_lq': 'images',
                'io_backend': {'type': 'disk'},
                'gt_size': 16,
                'use_hflip': True,
                'use_rot': True,
                'num_worker_per_gpu': 0,
                'batch_size_per_gpu': 2,
            }
        },
        'network_g': {'type': 'SRVGGNetCompact', 'num_feat': 4, 'num_conv': 1, 'upscale': 1},
        'path': {'resume_state': None},
        'train': {
            'optim_g': {'type': 'Adam', 'lr': 1e-4},
            'scheduler': {'type': 'MultiStepLR', 'milestones': [2], 'gamma': 0.5},
            'total_iter': 2,
            'pixel_opt': {'type': 'L1Loss'},
        },
        'logger': {'print_freq': 1, 'save_checkpoint_freq': 2, 'use_tb_logger': True},
    }
    start = 'import runpy; runpy.run_module("basicsr.train", run_name="__main__", alter_sys=True)'
    for total in (2, 4):
        opt['train']['total_iter'] = total
        (tmp_path / 'tiny.yml').write_text(yaml.safe_dump(opt))
        check_python(
            *('-W', 'ignore', '-c', f'{INSTALL_HOOK}; {start}', '-opt', 'tiny.yml', '--auto_resume'),
            cwd=tmp_path,
            CUDA_VISIBLE_DEVICES='',
        )
    run = tmp_path / 'experiments' / 'tiny'
    first, second = (path.read_text() for path in sorted(run.glob('train_tiny_*.log')))
    assert 'Resumed from' not in first
    assert "training_states/2.state' at iteration 2." in second.partition('Resumed from')[2]
    assert sorted(path.name for path in (run / 'training_states').iterdir()) == ['2.state', '4.state']
    assert len(list((tmp_path / 'tb_logger' / 'tiny').iterdir())) == 2
    assert not (Path(basicsr.__file__).parents[1] / 'experiments' / 'tiny').exists()
