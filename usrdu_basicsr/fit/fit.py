"""Run the workflow: check, plan, measure the camera, generate, train, upscale, export, report."""

import shlex
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from psutil import Process

from usrdu_basicsr.fit.command import Command, Progress
from usrdu_basicsr.fit.dataset import sub_image_count, write_dataset
from usrdu_basicsr.fit.network import Network, choose_network, measure_step
from usrdu_basicsr.fit.options_files import Schedule, write_dsn_options, write_srn_options
from usrdu_basicsr.fit.plan import STAGE_1_SHARE, Plan, make_plan
from usrdu_basicsr.fit.preview import write_preview, write_validation_lr
from usrdu_basicsr.fit.request import NETWORKS, Request, duration
from usrdu_basicsr.fit.selection import select_images
from usrdu_basicsr.fit.state import PLANNING, RunState, key_of
from usrdu_basicsr.fit.training import Budget, Training, best_checkpoint
from usrdu_basicsr.report import run_folder as names
from usrdu_basicsr.utils.device import pick_device
from usrdu_basicsr.utils.errors import InputError, UserError
from usrdu_basicsr.utils.files import write_bytes
from usrdu_basicsr.utils.images import list_images
from usrdu_basicsr.utils.result_records import file_identity

BEAT_SECONDS = 5.0  # between two records of the time
STAGE_1_SECONDS = 0.25  # of an iteration on one core of an AMD EPYC, until it is measured


@dataclass(frozen=True)
class FitStep:
    """A step of a run.

    Attributes:
        name: Its name in `fit.json`.
        run: Function that completes it.
        outputs: Files and folders that it writes, which are removed if its inputs change.
        settings: Arguments that it depends on, in addition to the earlier steps.
    """

    name: str
    run: Callable[[Plan], None]
    outputs: tuple[str, ...]
    settings: tuple[Any, ...] = ()


class Fit:
    """A run of `usrdu fit`.

    Args:
        request: Arguments.
        progress: Lines for the user.

    Raises:
        InputError: If the folder of the run has other files, or the device is not available.
    """

    def __init__(self, request: Request, progress: Progress) -> None:
        self.request, self.progress = request, progress
        self.folder = request.output
        self.state = RunState(self.folder)
        self.device = pick_device(request.device)
        self._best: Path | None = None
        self._current_step, self._beat_time = PLANNING, time.monotonic() - (time.time() - Process().create_time())

    def run(self) -> None:
        """Run the steps that are not finished.

        Raises:
            InputError: If the images, the network or the time are unsuitable, or a command fails.
            InputNotFoundError: If the file of the network does not exist.
        """
        keys, key = {}, key_of(self._inputs())
        for step in self._steps():
            keys[step] = key = key_of(key, list(step.settings))
        self._check_folder()
        todo = [step for step in keys if not self.state.is_finished(step.name, keys[step])]
        if not todo:
            self.progress.line(f"Finished already: see '{self.folder / names.REPORT}'")
            return
        self.state.forget_time({step.name: key for step, key in keys.items()})
        plan = self._plan()
        for note in plan.selection.notes:
            self.progress.line(f'note: {note}')
        for name, text in plan.rows():
            self.progress.line(f'{name:<12}{text}')
        self.folder.mkdir(parents=True, exist_ok=True)
        self.state.settings = {
            name: str(value) if isinstance(value, Path) else value for name, value in asdict(self.request).items()
        }
        self.progress.line(f'$ cd {shlex.quote(str(self.folder))}')
        model = self.folder / names.MODEL
        try:
            for step in todo:
                self._run_step(step, keys[step], plan)
        except (KeyboardInterrupt, SystemExit):
            best = f". The best network so far is '{model}'" if model.exists() else ''
            self.progress.line(f'Stopped. The same command resumes the run{best}')
            raise
        spent = duration(sum(self.state.seconds.values()))
        self.progress.line(f"Finished after {spent}: '{self.folder / names.REPORT}' and '{model}'")

    def _steps(self) -> Iterator[FitStep]:
        request = self.request
        yield FitStep('data', self._write_data, (names.DATA,), (request.scale, sub_image_count(request.seconds)))
        yield FitStep('camera', self._measure_camera, (names.CAMERA,))
        if request.preset == 'published':
            yield FitStep(
                'stage_1', self._train_stage_1, (names.experiment(names.DSN), 'tb_logger/dsn'), (request.seconds,)
            )
        yield FitStep('generate', self._generate, (names.GENERATED, names.PREVIEWS), (request.preset,))
        networks = (names.experiment(names.SRN), 'tb_logger/srn', names.MODEL)
        settings = (request.seconds, request.network, self._network_file(), str(self.device))
        yield FitStep('training', self._train_stage_2, networks, settings)
        yield FitStep('results', self._write_results, (names.UPSCALED, names.EXPORT, names.REPORT))

    def _inputs(self) -> list[Any]:
        """Names, sizes and times of the user's images. A folder that cannot be read is reported later."""
        inputs = []
        for folder in (self.request.hr, self.request.lr, self.request.val_hr, self.request.val_lr):
            with suppress(UserError):
                images = [] if folder is None else list_images(folder)
                inputs.append([[path.name, file_identity(path)] for path in images])
        return inputs

    def _network_file(self) -> dict[str, Any] | None:
        file = Path(self.request.network).expanduser()
        return file_identity(file) if self.request.network not in NETWORKS and file.is_file() else None

    def _check_folder(self) -> None:
        """Refuse the run of another camera, whose results would be removed."""
        for name in ('hr', 'lr') if self.state.settings else ():
            earlier, now = (Path(path).resolve() for path in (self.state.settings[name], getattr(self.request, name)))
            if earlier != now:
                raise InputError(
                    f"-o: '{self.folder}' has a run of --{name} '{earlier}', expected '{now}'. Choose another folder"
                )

    def _plan(self) -> Plan:
        selection = select_images(self.request)
        network = choose_network(self.request.network, self.request.scale, self.device)
        step = measure_step(network, self.request.scale, self.device)
        return make_plan(self.request, selection, network, step, self.device)

    def _run_step(self, step: FitStep, key: str, plan: Plan) -> None:
        self._beat(0)
        if self.state.is_stale(step.name, key):
            self.progress.line(f'{step.name}: its earlier results are removed, because inputs or settings changed')
            self.state.remove(step.name)
            self._remove(step.outputs)
        self.state.start(step.name, key)
        self._current_step = step.name
        try:
            step.run(plan)
        finally:
            self._beat(0)
        self.state.finish(step.name, key)

    def _beat(self, least: float = BEAT_SECONDS) -> None:
        """Record the time of the current step if it is not too little. A killed run loses less than that."""
        if (now := time.monotonic()) - self._beat_time >= least:
            self.state.spend(self._current_step, now - self._beat_time)
            self._beat_time = now

    def _remove(self, outputs: tuple[str, ...]) -> None:
        for path in (self.folder / output for output in outputs):
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)

    def _write_data(self, plan: Plan) -> None:
        self.progress.live('data: reading images')
        skipped = write_dataset(
            plan.selection, self.folder / names.DATA, self.request.scale, sub_image_count(self.request.seconds)
        )
        for note in skipped:
            self.progress.line(f'note: {note}')
        self.state.notes = plan.selection.notes + skipped

    def _measure_camera(self, plan: Plan) -> None:
        images = ('--hr', names.HR, '--lr', names.LR)
        self._command('camera', *images, '--scale', self.request.scale, '-o', names.CAMERA)
        if not plan.selection.val_lr:
            write_validation_lr(self.folder)

    def _generate(self, plan: Plan) -> None:
        dsn = Path(names.CAMERA_DSN)
        if self.request.preset == 'published':
            best = best_checkpoint(self.folder, names.DSN)
            if best is None:
                raise self._too_short()
            dsn = best.relative_to(self.folder)
        self._command('generate', '-i', names.HR, '-o', names.GENERATED, '--model_path', dsn, *self._on_device)
        write_preview(self.folder)

    def _train_stage_1(self, plan: Plan) -> None:
        def write_options(schedule: Schedule, parts: int) -> None:
            path = self.folder / names.options_file(names.DSN)
            write_dsn_options(path, self.request.scale, schedule, parts, self.device.type == 'cpu')

        now, end = time.monotonic(), self._deadline(plan)
        deadline = now + STAGE_1_SHARE * (end - now)
        budget = Budget(deadline, self.request.seconds, end - deadline + self._results_seconds(plan), STAGE_1_SECONDS)
        Training(self.folder, names.DSN, write_options, budget, self.progress, self._beat).run(self._start)

    def _train_stage_2(self, plan: Plan) -> None:
        def write_options(schedule: Schedule, parts: int) -> None:
            path, is_cpu = self.folder / names.options_file(names.SRN), self.device.type == 'cpu'
            write_srn_options(path, network, plan.step, self.request.scale, schedule, parts, is_cpu)

        network = self._own_network(plan.network)
        after = self._results_seconds(plan)
        budget = Budget(self._deadline(plan), self.request.seconds, after, plan.iteration_seconds)
        keep = self._keep_best
        training = Training(self.folder, names.SRN, write_options, budget, self.progress, self._beat, keep)
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

    def _write_results(self, plan: Plan) -> None:
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

    def _deadline(self, plan: Plan) -> float:
        """Time of `time.monotonic` at which training should end."""
        self._beat(0)
        left = self.request.seconds - sum(self.state.seconds.values())
        return time.monotonic() + left - self._results_seconds(plan)

    def _results_seconds(self, plan: Plan) -> float:
        """Expected time of the results, longer than planned by as much as that of measuring and generating was."""
        spent = sum(self.state.seconds.get(step, 0) for step in ('camera', 'generate'))
        return plan.seconds['results'] * max(1, spent / (plan.seconds['camera'] + plan.seconds['generation']))

    def _start(self, arguments: list[Any]) -> Command:
        echo = self.progress.line if self.request.verbose else None
        command = Command(arguments, self.folder, self.folder / names.LOG, echo)
        self.progress.line(f'$ {command.text}')
        return command

    def _command(self, *arguments: Any) -> None:
        """Run a command; an InputError if it fails."""
        start = time.monotonic()
        with self._start(list(arguments)) as command:
            for _ in command.lines():
                self._beat()
                self.progress.live(f'{arguments[0]}: {duration(time.monotonic() - start)}')
        if command.process.returncode:
            raise command.failure()
