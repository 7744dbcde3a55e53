"""Run the workflow: check, plan, measure the camera, generate, train, upscale, export, report."""

import shutil
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from usrdu_basicsr.fit.command import Command, Progress
from usrdu_basicsr.fit.dataset import write_dataset
from usrdu_basicsr.fit.network import choose_network, measure_step
from usrdu_basicsr.fit.options_files import Schedule, write_dsn_options, write_srn_options
from usrdu_basicsr.fit.plan import FINISH_SECONDS, STAGE_1_SHARE, Plan, make_plan
from usrdu_basicsr.fit.preview import write_preview, write_validation_lr
from usrdu_basicsr.fit.request import Request, duration
from usrdu_basicsr.fit.selection import Selection, select_images
from usrdu_basicsr.fit.state import RunState, key_of
from usrdu_basicsr.fit.training import Budget, Training, best_checkpoint
from usrdu_basicsr.report.run_folder import (
    CAMERA,
    HELD_BACK,
    MODEL,
    REPORT,
    UPSCALED_HELD_BACK,
    UPSCALED_VALIDATION,
    VALIDATION_LR,
)
from usrdu_basicsr.utils.device import pick_device
from usrdu_basicsr.utils.errors import InputError
from usrdu_basicsr.utils.files import write_bytes
from usrdu_basicsr.utils.images import list_images
from usrdu_basicsr.utils.result_records import file_identity
from usrdu_basicsr.version import __version__

BEAT_SECONDS = 5.0
STAGE_1_SECONDS = 0.25  # of an iteration on one core of an AMD EPYC, until it is measured


@dataclass(frozen=True)
class StepOfRun:
    """A step of a run.

    Attributes:
        name: Its name in `fit.json`.
        run: Function that completes it.
        outputs: Files and folders that it writes, which are removed if its inputs change.
    """

    name: str
    run: Callable[[], None]
    outputs: tuple[str, ...]
    settings: Any = None


class Fit:
    """A run of `usrdu fit`.

    Args:
        request: Arguments.
        progress: Lines for the user.

    Raises:
        InputError: If the folder of the run has other files.
    """

    def __init__(self, request: Request, progress: Progress) -> None:
        self.request, self.progress = request, progress
        self.folder = request.output
        self.state = RunState(self.folder)
        self._step, self._beat_time = 'plan', time.monotonic()
        self.device = pick_device(request.device)
        self.plan: Plan | None = None

    def run(self) -> None:
        """Run the steps that are not finished.

        Raises:
            InputError: If the images, the network or the time are unsuitable, or a command fails.
            InputNotFoundError: If the file of the network does not exist.
        """
        steps = list(self._steps())
        keys, key = {}, key_of(self._inputs(), __version__)
        for each in steps:
            keys[each.name] = key = key_of(key, each.settings)
        todo = [each for each in steps if not self.state.is_finished(each.name, keys[each.name])]
        if not todo:
            self.progress.line(f"Finished already: see '{self.folder / REPORT}'")
            return
        selection = select_images(self.request)
        network = choose_network(self.request.network, self.request.scale, self.device)
        step = measure_step(network, self.request.scale, self.device)
        self.plan = make_plan(self.request, selection, network, step, self.device)
        self._announce(self.plan)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.state.notes, self.state.settings = selection.notes, _settings(self.request)
        for step_of_run in todo:
            self._run_step(step_of_run, keys[step_of_run.name])
        spent = sum(self.state.seconds.values())
        self.progress.line(f"Finished after {duration(spent)}: '{self.folder / REPORT}', '{self.folder / MODEL}'")

    def _steps(self) -> Iterable[StepOfRun]:
        request = self.request
        yield StepOfRun('data', self._data, ('data',), request.scale)
        yield StepOfRun('camera', self._camera, ('camera',))
        if request.preset == 'published':
            yield StepOfRun('stage_1', self._stage_1, ('experiments/dsn', 'tb_logger/dsn'), request.seconds)
        yield StepOfRun('generate', self._generate, ('generated', 'previews'), request.preset)
        training = [request.seconds, request.network, str(self.device)]
        yield StepOfRun('training', self._train, ('experiments/srn', 'tb_logger/srn', MODEL), training)
        yield StepOfRun('results', self._results, ('upscaled', 'export', REPORT))

    def _inputs(self) -> list[Any]:
        """Names, sizes and times of the user's files."""
        folders = (self.request.hr, self.request.lr, self.request.val_hr, self.request.val_lr)
        return [
            [[path.name, file_identity(path)] for path in list_images(folder)]
            for folder in folders
            if folder is not None and folder.is_dir()
        ]

    def _announce(self, plan: Plan) -> None:
        for note in plan.selection.notes:
            self.progress.line(f'note: {note}')
        for name, text in plan.rows():
            self.progress.line(f'{name:<12}{text}')
        self.progress.line(f'$ cd {self.folder}')

    def _run_step(self, step: StepOfRun, key: str) -> None:
        self._beat(0)
        self.state.start(step.name, key, partial(self._clean, step.outputs))
        self._step = step.name
        try:
            step.run()
        finally:
            self._beat(0)
        self.state.finish(step.name, key)

    def _beat(self, least: float = BEAT_SECONDS) -> None:
        """Record the time of the current step, if it is not too little. A killed run loses less than that."""
        if (now := time.monotonic()) - self._beat_time >= least:
            self.state.spend(self._step, now - self._beat_time)
            self._beat_time = now

    def _clean(self, outputs: Iterable[str]) -> None:
        for output in outputs:
            path = self.folder / output
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)

    def _data(self) -> None:
        selection: Selection = self._plan.selection
        self.progress.live('data: reading images')
        for note in write_dataset(selection, self.folder / 'data', self.request.scale):
            self.progress.line(f'note: {note}')
            self.state.notes.append(note)

    def _camera(self) -> None:
        images = ('--hr', 'data/HR', '--lr', 'data/LR')
        self._command('camera', *images, '--scale', self.request.scale, '-o', 'camera')
        if not self._plan.selection.val_lr:
            write_validation_lr(self.folder / CAMERA, self.folder / 'data' / 'validation')

    def _generate(self) -> None:
        dsn = CAMERA if self.request.preset == 'auto' else 'experiments/dsn/models/net_g_latest.pth'
        self._command('generate', '-i', 'data/HR', '-o', 'generated', '--model_path', dsn)
        write_preview(self.folder)

    def _stage_1(self) -> None:
        def write_options(schedule: Schedule, parts: int) -> None:
            path = self.folder / 'options' / 'train_dsn.yml'
            write_dsn_options(path, self.request.scale, schedule, parts, self.device.type == 'cpu')

        left = self._deadline - time.monotonic()
        deadline = time.monotonic() + STAGE_1_SHARE * left
        self._training('dsn', write_options, Budget(deadline, self.request.seconds, STAGE_1_SECONDS)).run(self._start)

    def _train(self) -> None:
        plan = self._plan

        def write_options(schedule: Schedule, parts: int) -> None:
            path = self.folder / 'options' / 'train_srn.yml'
            write_srn_options(
                path, plan.network, plan.step, self.request.scale, schedule, parts, self.device.type == 'cpu'
            )

        budget = Budget(self._deadline, self.request.seconds, plan.iteration_seconds)
        training = self._training('srn', write_options, budget)
        try:
            training.run(self._start)
        finally:
            if (best := best_checkpoint(training.experiment)) is not None:
                write_bytes(self.folder / MODEL, best.read_bytes())
        if best is None:
            raise InputError(f'--time: got {duration(self.request.seconds)}, too short for a checkpoint. Pass more')

    def _results(self) -> None:
        network = ('--model_path', MODEL, '-opt', 'options/train_srn.yml')
        device = ('--device', self.device)
        for images, output in ((HELD_BACK, UPSCALED_HELD_BACK), (VALIDATION_LR, UPSCALED_VALIDATION)):
            self._command('upscale', '-i', images, '-o', output, *network, *device)
        self._command('export', *network, '-o', 'export', '--format', 'safetensors', '--overwrite')
        self._command('report', '.')

    @property
    def _plan(self) -> Plan:
        if self.plan is None:
            raise RuntimeError('a step runs before the plan')
        return self.plan

    @property
    def _deadline(self) -> float:
        """Time of `time.monotonic` at which training should end."""
        self._beat(0)
        return time.monotonic() + self.request.seconds - sum(self.state.seconds.values()) - FINISH_SECONDS

    def _training(self, stage: str, write_options: Callable[[Schedule, int], None], budget: Budget) -> Training:
        return Training(self.folder, stage, write_options, budget, self.progress, self._beat)

    def _start(self, arguments: list[Any]) -> Command:
        command = Command(arguments, self.folder, self.folder / 'log.txt')
        self.progress.line(f'$ {command.text}')
        return command

    def _command(self, *arguments: Any) -> None:
        """Run a command; an InputError if it fails."""
        start = time.monotonic()
        with self._start(list(arguments)) as command:
            for line in command.lines():
                if self.request.verbose and line:
                    self.progress.line(line)
                self._beat()
                self.progress.live(f'{arguments[0]}: {duration(time.monotonic() - start)}')
        if command.process.returncode:
            log = self.folder / 'log.txt'
            raise InputError(f"{command.text}: ended with status {command.process.returncode}. See '{log}'")


def _settings(request: Request) -> dict[str, Any]:
    """Arguments as JSON values."""
    return {name: str(value) if isinstance(value, Path) else value for name, value in asdict(request).items()}
