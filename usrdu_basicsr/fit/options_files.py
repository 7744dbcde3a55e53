"""Options files of a run, which BasicSR's launcher runs as well."""

import os
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from usrdu_basicsr.fit.network import BATCH, GT_SIZE, Network, Step
from usrdu_basicsr.options.recipes import find_recipe
from usrdu_basicsr.report import run_folder as names
from usrdu_basicsr.utils.files import write_text

VALIDATIONS = 10  # of a training
EMA_ITERATIONS = 10_000  # from which on the weights are averaged over more iterations
MANY_CORES = 8


@dataclass(frozen=True)
class Schedule:
    """Length of a training.

    Attributes:
        total_iter: Number of iterations, a multiple of `val_freq`.
        val_freq: Iterations between validations and checkpoints.
    """

    total_iter: int
    val_freq: int

    @classmethod
    def of(cls, iterations: float) -> 'Schedule':
        """Schedule of about so many iterations with `VALIDATIONS` validations, the last one at its end."""
        val_freq = max(1, round(iterations / VALIDATIONS))
        return cls(VALIDATIONS * val_freq, val_freq)


def write_srn_options(
    path: Path, network: Network, step: Step, scale: int, schedule: Schedule, parts: int, cpu: bool
) -> None:
    """Write the options of stage 2, with paths relative to the folder of the run."""
    options = _recipe('demo/train_srn', names.SRN, scale, schedule, cpu)
    options['datasets']['train'] |= {
        'dataroot_gt': names.HR,
        'dataroot_lq': names.GENERATED_LR,
        'dataroot_log_scale': names.GENERATED_LOG_SCALE,
        'gt_size': GT_SIZE[scale],
        'batch_size_per_gpu': BATCH,
    }
    options['network_g'] = network.options
    options['train'] |= {
        'precision': step.precision,
        'accum_iter': min(parts * step.accum_iter, BATCH),
        'ema_decay': 0.999 if schedule.total_iter >= EMA_ITERATIONS else 0.99,
    }
    options['train']['optim_g']['lr'] = network.learning_rate
    options['train']['scheduler'] |= {'periods': [schedule.total_iter], 'eta_min': network.learning_rate / 100}
    options['val']['metrics'] = {name: {'type': f'calculate_{name}', 'crop_border': scale} for name in ('psnr', 'ssim')}
    _write(path, 'Stage 2 of this run: cd to its folder, then usrdu train -opt options/train_srn.yml', options)


def write_dsn_options(path: Path, scale: int, schedule: Schedule, parts: int, cpu: bool) -> None:
    """Write the options of stage 1 as published, with a small network."""
    options = _recipe('demo/train_dsn', names.DSN, scale, schedule, cpu)
    options['datasets']['train'] |= {'dataroot_gt': names.HR, 'dataroot_lq': names.LR, 'gt_size': 16 * scale}
    options['network_g']['scale'] = scale
    batch = options['datasets']['train']['batch_size_per_gpu']
    options['train'] |= {'gan_input': 'mean', 'accum_iter': min(parts, batch)}
    options['train']['scheduler']['milestones'] = [schedule.total_iter * 4 // 5]
    _write(path, 'Stage 1 of this run: cd to its folder, then usrdu train -opt options/train_dsn.yml', options)


def _recipe(recipe: str, name: str, scale: int, schedule: Schedule, cpu: bool) -> dict[str, Any]:
    """Options of a recipe with the settings that both stages share."""
    options = deepcopy(find_recipe(recipe)[0].options)
    options |= {'name': name, 'scale': scale, 'num_gpu': 0 if cpu else 1}
    train, val = (options['datasets'][phase] for phase in ('train', 'val'))
    workers = 1 if (os.cpu_count() or 1) < MANY_CORES else MANY_CORES // 2
    train |= {'name': 'own', 'num_worker_per_gpu': workers}
    val |= {'name': 'validation', 'dataroot_gt': names.VALIDATION_HR, 'dataroot_lq': names.VALIDATION_LR}
    options['train']['total_iter'] = schedule.total_iter
    options['val'] |= {'val_freq': schedule.val_freq, 'save_img': True}
    options['logger'] |= {
        'print_freq': max(1, min(100, schedule.total_iter // 100)),
        'save_checkpoint_freq': schedule.val_freq,
        'keep_checkpoints': 2,
    }
    return options


def _write(path: Path, comment: str, options: dict[str, Any]) -> None:
    write_text(path, f'# {comment}\n{yaml.safe_dump(options, sort_keys=False)}')
