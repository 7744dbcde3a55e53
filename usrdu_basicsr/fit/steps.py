"""What each step of a run does."""

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from usrdu_basicsr.fit.budget import Budget
from usrdu_basicsr.fit.command import Command, Progress
from usrdu_basicsr.fit.dataset import sub_image_count, write_dataset
from usrdu_basicsr.fit.network import Network
from usrdu_basicsr.fit.options_files import Schedule, write_dsn_options, write_srn_options
from usrdu_basicsr.fit.plan import STAGE_1_SHARE, Plan
from usrdu_basicsr.fit.preview import write_preview, write_validation_lr
from usrdu_basicsr.fit.request import Request, duration
from usrdu_basicsr.fit.state import RunState
from usrdu_basicsr.fit.stopwatch import Stopwatch
from usrdu_basicsr.fit.training import Training, best_checkpoint
from usrdu_basicsr.report import run_folder as names
from usrdu_basicsr.utils.errors import InputError
from usrdu_basicsr.utils.files import write_bytes

STAGE_1_SECONDS = 0.25  # of an iteration on one core of an AMD EPYC, until it is measured


class Steps:
    """Steps of a run, which raise an InputError if a command fails.

    Args:
        request: Arguments.
        state: Notes and times of the run.
        stopwatch: Its time.
        device: Device of the networks.
        progress: Lines for the user.
    """

    def __init__(
        self, request: Request, state: RunState, stopwatch: Stopwatch, device: torch.device, progress: Progress
    ) -> None:
        self.request, self.state, self.stopwatch = request, state, stopwatch
        self.device, self.progress = device, progress
        self.folder = request.output
        self._best: Path | None = None

    def write_data(self, plan: Plan) -> None:
        """Write sub-images, camera images, validation and held-back images."""
        self.progress.live('data: reading images')
        skipped = write_dataset(
            plan.selection, self.folder / names.DATA, self.request.scale, sub_image_count(self.request.seconds)
        )
        for note in skipped:
            self.progress.line(f'note: {note}')
        self.state.notes = plan.selection.notes + skipped

    def measure_camera(self, plan: Plan) -> None:
        """Measure the camera, and take validation images with it if there are no pairs."""
        images = ('--hr', names.HR, '--lr', names.LR)
        self._command('camera', *images, '--scale', self.request.scale, '-o', names.CAMERA)
        if not plan.selection.val_lr:
            write_validation_lr(self.folder)

    def generate(self, plan: Plan) -> None:
        """Generate the LR images to train on."""
        dsn = Path(names.CAMERA_DSN)
        if self.request.preset == 'published':
            best = best_checkpoint(self.folder, names.DSN)
            if best is None:
                raise self._too_short()
            dsn = best.relative_to(self.folder)
        write_preview(self.folder, self.folder / dsn)
        self._command('generate', '-i', names.HR, '-o', names.GENERATED, '--model_path', dsn, *self._on_device)

    def train_stage_1(self, plan: Plan) -> None:
        """Train stage 1 for its share of the time."""

        def write_options(schedule: Schedule, parts: int) -> None:
            path = self.folder / names.options_file(names.DSN)
            write_dsn_options(path, self.request.scale, schedule, parts, self.device.type == 'cpu')

        budget = self._budget(plan, STAGE_1_SECONDS, STAGE_1_SHARE)
        Training(self.folder, names.DSN, write_options, budget, self.progress, self.stopwatch.beat).run(self._start)

    def train_stage_2(self, plan: Plan) -> None:
        """Train the SR network for the time that is left, and keep the best one."""

        def write_options(schedule: Schedule, parts: int) -> None:
            path, is_cpu = self.folder / names.options_file(names.SRN), self.device.type == 'cpu'
            write_srn_options(path, network, plan.step, self.request.scale, schedule, parts, is_cpu)

        network = self._own_network(plan.network)
        budget, keep = self._budget(plan, plan.iteration_seconds), self._keep_best
        training = Training(self.folder, names.SRN, write_options, budget, self.progress, self.stopwatch.beat, keep)
        try:
            training.run(self._start)
        finally:
            keep()
        if not (self.folder / names.MODEL).exists():
            raise self._too_short()

    def _keep_best(self) -> None:
        best = best_checkpoint(self.folder, names.SRN)
        if best is not None and best != self._best:
            write_bytes(self.folder / names.MODEL, best.read_bytes())
            self._best = best

    def _own_network(self, network: Network) -> Network:
        """Network whose file, if it has one, is a copy in the folder of the run."""
        if network.options['type'] != 'SpandrelArch':
            return network
        file = Path(network.options['path'])
        write_bytes(self.folder / f'network{file.suffix}', file.read_bytes())
        return replace(network, options=network.options | {'path': f'network{file.suffix}'})

    def write_results(self, plan: Plan) -> None:
        """Upscale, export and report."""
        network = ('--model_path', names.MODEL, '-opt', names.options_file(names.SRN))
        for images, output in (
            (names.HELD_BACK, names.UPSCALED_HELD_BACK),
            (names.VALIDATION_LR, names.UPSCALED_VALIDATION),
        ):
            self._command('upscale', '-i', images, '-o', output, *network, *self._on_device)
        self._command('export', *network, '-o', names.EXPORT, '--format', 'safetensors', '--overwrite')
        self._command('report', '.')

    def _too_short(self) -> InputError:
        return InputError(f'--time: got {duration(self.request.seconds)}, which ended before the first checkpoint')

    @property
    def _on_device(self) -> tuple[str, str]:
        return '--device', self.device.type

    def _budget(self, plan: Plan, iteration_seconds: float, share: float = 1.0) -> Budget:
        """Time of a training. The results get longer than planned by as much as measuring and generating took."""
        now = time.monotonic()
        end = now + self.request.seconds - self.stopwatch.spent()
        start = now - self.state.seconds.get(self.stopwatch.step, 0)
        spent = sum(self.state.seconds.get(step, 0) for step in ('camera', 'generate'))
        longer = max(1, spent / (plan.seconds['camera'] + plan.seconds['generate']))
        return Budget(end, self.request.seconds, plan.seconds['results'] * longer, iteration_seconds, share, start)

    def _start(self, arguments: list[Any]) -> Command:
        echo = self.progress.line if self.request.verbose else None
        command = Command(arguments, self.folder, self.folder / names.LOG, echo)
        self.progress.line(f'$ {command.text}')
        return command

    def _command(self, *arguments: Any) -> None:
        """Run a command; an InputError if it fails."""
        start = time.monotonic()
        self.stopwatch.beat(0)  # the report shows the times
        with self._start(list(arguments)) as command:
            for _ in command.lines():
                self.stopwatch.beat()
                self.progress.live(f'{arguments[0]}: {duration(time.monotonic() - start)}')
        if command.process.returncode:
            raise command.failure()
