"""One cell of the study: train a method on a camera with a seed, and evaluate it."""

import json
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from threading import Event, Lock
from typing import Any

import yaml

from study_ablation import write_ablation
from study_data import PHONE, copy_images, write_simulated
from study_impressionism import write_impressionism
from study_real_esrgan import write_real_esrgan
from usrdu_basicsr.utils.files import write_text

RECIPES = Path(__file__).resolve().parents[2] / 'options' / 'demo'
EVALUATE = Path(__file__).with_name('evaluate.py')
IMAGE_GAN = Path(__file__).with_name('train_image_gan.py')
SECONDS = {'dsn': 0.25, 'srn': 0.15}  # of an iteration, one core of an AMD EPYC
EVALUATION = 25  # seconds
STOPPED = Event()  # set when the study ends, also after Ctrl-C and SIGTERM: running commands are stopped
POLL = 0.2  # seconds
WRITING = Lock()  # of images that cells share
UNKNOWN_CAMERA = ('bicubic', 'real_esrgan')  # methods that do not use the images of the camera


@dataclass(frozen=True, eq=False)
class Cell:
    """A method on a camera with a seed.

    Attributes:
        root: Folder of the study.
        grid: Content of the YAML file.
        camera: Name of the camera.
        method: Name of the method.
        seed: Random seed of both trainings.
        weights: Weights of AlexNet for LPIPS.
    """

    root: Path
    grid: dict[str, Any]
    camera: str
    method: str
    seed: int
    weights: Path

    @property
    def name(self) -> str:
        """Name of the cell."""
        return f'{self.camera}-{self.method}-{self.seed}'

    @property
    def training(self) -> str:
        """Name of its training of stage 2, which simulated cameras share if the method does not use their images."""
        return f'{self._owner}-{self.method}-{self.seed}'

    @property
    def job(self) -> str:
        """Name that cells with a common training have, which run one after another, and of the training of stage 1."""
        return f'{self._owner}-{self.settings.get("dsn", self.settings.get("init", self.method))}-{self.seed}'

    @property
    def _owner(self) -> str:
        return self.hr_set if self.settings['lr'] in UNKNOWN_CAMERA else self.camera

    @property
    def hr_set(self) -> str:
        """HR images: those of the phone, or those that all simulated cameras share."""
        return PHONE if self.camera == PHONE else 'simulated'

    @property
    def folder(self) -> Path:
        """Folder of the cell."""
        return self.root / 'cells' / self.name

    @property
    def data(self) -> Path:
        """Images of the camera."""
        return self.root / 'data' / self.camera

    @property
    def settings(self) -> dict[str, Any]:
        """Description of the method."""
        return self.grid['methods'][self.method]

    @property
    def scale(self) -> int:
        """Scale of the camera."""
        return self.grid['cameras'][self.camera]['scale']

    @property
    def iterations(self) -> dict[str, int]:
        """Iterations of each stage."""
        budget = self.settings.get('budget', 1)
        return {stage: round(budget * count) for stage, count in self.grid['iterations'].items()}

    @property
    def minutes(self) -> dict[str, float]:
        """Approximate minutes on one CPU core of its trainings, which cells share, and of its evaluation, by name."""
        stages = {'srn': f'{self.training}-srn'}
        if self.settings['lr'] == 'dsn':
            stages['dsn'] = f'{self.job}-dsn'
        times = {name: SECONDS[stage] * self.iterations[stage] for stage, name in stages.items()}
        return {name: seconds / 60 for name, seconds in (times | {self.name: EVALUATION}).items()}

    @property
    def result(self) -> Path:
        """File of the results, which is written last."""
        return self.folder / 'result.json'

    @property
    def upscaled(self) -> Path:
        """Folder of the upscaled validation images."""
        return self.folder / 'upscaled'

    def run(self) -> None:
        """Run the steps that have not been completed; a CalledProcessError if one fails."""
        hr, lr = self._pairs()
        network = self._train_srn(hr, lr)
        validation = (f'--{each}={self.data / "validation" / each}' for each in ('HR', 'camera'))
        trained_on = lr / 'lr' if self.settings.get('mean') else lr
        compared = (f'--lr={self.data / "camera"}', f'--generated={trained_on}', f'--lpips={self.weights}')
        colors = () if self.settings['lr'] == 'real_esrgan' else (f'--hr={hr}',)
        self._command(EVALUATE, f'--model_path={network}', *validation, *compared, *colors, f'-o={self.result}')

    def _pairs(self) -> tuple[Path, Path]:
        """HR images and LR images of the method, a generated set or a folder of images."""
        kind, hr = self.settings['lr'], self.data / 'HR'
        if kind == 'real_esrgan':
            pairs = self.root / 'data' / f'real_esrgan-{self.hr_set}-{self.seed}'
            with WRITING:
                write_real_esrgan(self.data / 'hr', pairs, self.scale, self.grid['side'], self.seed)
            return pairs / 'HR', pairs / 'LR'
        if kind == 'simulated':
            write_simulated(hr, self.folder / 'LR', self.scale, self.settings)
            return hr, self.folder / 'LR'
        if kind == 'impressionism':
            kernels = self._measure().with_name('kernels')
            write_impressionism(hr, self.data / 'camera', kernels, self.folder / 'LR', self.scale, self.seed)
            return hr, self.folder / 'LR'
        if kind not in ('measured', 'dsn'):
            return hr, self.data / 'LR' / kind
        generated = self.folder / 'generated'
        dsn = self._measure() if kind == 'measured' else self._train_dsn()
        if not (generated / 'complete').exists():
            self._usrdu('generate', '-i', hr, '-o', generated, '--model_path', dsn)
            (generated / 'complete').touch()
        return hr, generated

    def _measure(self) -> Path:
        """Checkpoint of the measured camera, which seeds and methods share, or of an ablation of it."""
        count = self.settings.get('camera_images')
        folder = self.root / 'cameras' / (self.camera if count is None else f'{self.camera}-{count}')
        checkpoint = folder / 'net_g_camera.pth'
        with WRITING:
            if not checkpoint.exists():
                lr = self.data / 'camera'
                if count is not None:
                    lr = folder / 'images'
                    copy_images(self.data / 'camera', lr, count)
                images = ('--hr', self.data / 'hr', '--lr', lr)
                self._usrdu('camera', *images, '--scale', self.scale, '-o', folder)
        if (without := self.settings.get('without')) is None:
            return checkpoint
        write_ablation(checkpoint, self.folder / 'net_g_ablation.pth', without)
        return self.folder / 'net_g_ablation.pth'

    def _train_dsn(self) -> Path:
        """Train stage 1, and calibrate it if the method says so."""
        options = self.settings.get('options', {})
        values: dict[str, Any] = {'kernel_size': 8 * self.scale + 1}
        if '{camera}' in json.dumps(options):
            values['camera'] = self._measure().parent
        options = {key: yaml.safe_load(str(value).format(**values)) for key, value in options.items()}
        iterations = self.iterations['dsn']
        network = self._train(
            'train_dsn.yml',
            {
                'datasets:train:dataroot_gt': self.data / 'HR',
                'datasets:train:dataroot_lq': self.data / 'camera',
                'datasets:train:gt_size': 16 * self.scale,
                'network_g:scale': self.scale,
                'train:total_iter': iterations,
                'train:scheduler:milestones': [iterations * 4 // 5],
            }
            | options,
        )
        if not self.settings.get('calibrate'):
            return network
        calibrated = self.folder / 'dsn_calibrated.pth'
        if not calibrated.exists():
            images = ('--hr', self.data / 'HR', '--lr', self.data / 'camera')
            self._usrdu('calibrate', '--model_path', network, *images, '-o', calibrated)
        return calibrated

    def _train_srn(self, hr: Path, lr: Path) -> Path:
        """Train stage 2, from the network of another method if the method says so."""
        iterations = self.iterations['srn']
        options = {
            'datasets:train:dataroot_gt': hr,
            'datasets:train:gt_size': self.grid['gt_size'][self.scale],
            'network_g:type': self.grid['network'],
            'network_g:upscale': self.scale,
            'train:total_iter': iterations,
            'train:scheduler:periods': [iterations],
        } | self.settings.get('srn', {})
        if (init := self.settings.get('init')) is not None:
            other = replace(self, method=init)
            options |= {'path:pretrain_network_g': other._train_srn(*other._pairs())}
        if self.settings.get('mean') or not (lr / 'log_scale').is_dir():
            folder = lr / 'lr' if (lr / 'lr').is_dir() else lr
            return self._train('train_srn_bicubic.yml', options | {'datasets:train:dataroot_lq': folder})
        sampled = {'datasets:train:dataroot_lq': lr / 'lr', 'datasets:train:dataroot_log_scale': lr / 'log_scale'}
        return self._train('train_srn.yml', options | sampled)

    def _train(self, recipe: str, options: dict[str, Any]) -> Path:
        """Train a recipe of the demo with other options, and return the checkpoint."""
        name = f'{self.job}-dsn' if 'dsn' in recipe else f'{self.training}-srn'
        network = self.root / 'experiments' / name / 'models' / 'net_g_latest.pth'
        if not network.exists():
            validation = self.data / 'validation'
            changed = {
                'name': name,
                'scale': self.scale,
                'manual_seed': self.seed,
                'datasets:val:dataroot_gt': validation / 'HR',
                'datasets:val:dataroot_lq': validation / 'camera',
                'val:val_freq': options['train:total_iter'],
                'val:save_img': False,
                'logger:use_tb_logger': False,
            } | options
            recipe_file = self.folder / recipe
            write_text(recipe_file, changed_recipe(RECIPES / recipe, changed))
            launcher = (IMAGE_GAN,) if self.settings.get('image_gan') else ('-m', 'usrdu_basicsr', 'train')
            self._command(*launcher, '-opt', recipe_file, '--auto_resume')
        return network

    def _usrdu(self, *arguments: Any) -> None:
        self._command('-m', 'usrdu_basicsr', *arguments)

    def _command(self, *arguments: Any) -> None:
        """Run a Python command in the folder of the study, with its output in the log of the cell."""
        self.folder.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, *map(str, arguments)]
        with open(self.folder / 'log.txt', 'a', encoding='utf-8') as log:
            log.write(f'$ {" ".join(command)}\n')
            log.flush()
            with subprocess.Popen(command, cwd=self.root, stdout=log, stderr=log) as process:
                while process.poll() is None:
                    if STOPPED.wait(POLL):
                        process.terminate()
                        break
        if process.returncode:
            raise subprocess.CalledProcessError(process.returncode, command)


def changed_recipe(recipe: Path, options: dict[str, Any]) -> str:
    """Text of a recipe with other options, which are named by their sections, `train:total_iter` for example."""
    changed = yaml.safe_load(recipe.read_text(encoding='utf-8'))
    for key, value in options.items():
        *sections, name = key.split(':')
        section = changed
        for each in sections:
            section = section[each]
        section[name] = str(value) if isinstance(value, Path) else value
    return yaml.safe_dump(changed, sort_keys=False)


def cells(
    root: Path, grid: dict[str, Any], weights: Path, cameras: Iterable[str], methods: Iterable[str], seeds: int
) -> list[Cell]:
    """Cells of cameras and methods, all of the first seed first."""
    chosen = list(product(methods, cameras))
    return [Cell(root, grid, camera, method, seed, weights) for seed in range(seeds) for method, camera in chosen]
