"""Run the steps that are not finished: measure the camera, generate, train, upscale, export, report."""

import shlex
import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from itertools import dropwhile
from pathlib import Path
from typing import Any

from usrdu_basicsr.compat.run_lock import lock
from usrdu_basicsr.fit.command import Progress
from usrdu_basicsr.fit.dataset import sub_image_count
from usrdu_basicsr.fit.network import choose_network, measure_step
from usrdu_basicsr.fit.plan import Plan, make_plan
from usrdu_basicsr.fit.request import NETWORKS, Request, duration
from usrdu_basicsr.fit.selection import select_images
from usrdu_basicsr.fit.state import RunState, key_of
from usrdu_basicsr.fit.steps import Steps
from usrdu_basicsr.fit.stopwatch import Stopwatch
from usrdu_basicsr.report import run_folder as names
from usrdu_basicsr.utils.device import pick_device
from usrdu_basicsr.utils.errors import InputError, UserError
from usrdu_basicsr.utils.files import TEMPORARY
from usrdu_basicsr.utils.images import list_images
from usrdu_basicsr.utils.result_records import file_identity


@dataclass(frozen=True)
class FitStep:
    """A step of a run.

    Attributes:
        name: Its name in `fit.json`.
        run: Function that completes it.
        outputs: Files and folders that it writes, which are removed if its inputs change. The first one is needed by
            later steps.
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
        self.stopwatch = Stopwatch(self.state)
        self.device = pick_device(request.device)
        self.work = Steps(request, self.state, self.stopwatch, self.device, progress)

    def run(self) -> None:
        """Run the steps that are not finished.

        Raises:
            InputError: If the images, the network or the time are unsuitable, or a command fails.
            InputNotFoundError: If the file of the network does not exist.
        """
        steps, keys, key = list(self._steps()), {}, key_of(self._inputs())
        for step in steps:
            keys[step.name] = key = key_of(key, list(step.settings))
        self._check_folder()
        has_results = (self.folder / names.MODEL).exists() and (self.folder / names.REPORT).exists()
        if has_results and all(self.state.is_finished(name, key) for name, key in keys.items()):
            self.progress.line(f"Finished already: see '{self.folder / names.REPORT}'")
            return
        todo = list(dropwhile(lambda step: self._is_finished(step, keys[step.name]), steps))
        deleted = {step.name for step in todo if self._is_deleted(step, keys[step.name])}
        self.state.forget_time({name: key for name, key in keys.items() if name not in deleted})
        plan = self._plan(todo)
        lock(self.folder / '.lock', f"-o: another usrdu fit is writing into '{self.folder}'. Wait for it, or stop it")
        for left in self.folder.glob(f'.{names.DATA}.*{TEMPORARY}'):  # by a process that was killed
            shutil.rmtree(left, ignore_errors=True)
        for note in plan.selection.notes:
            self.progress.line(f'note: {note}')
        for name, text in plan.rows():
            self.progress.line(f'{name:<12}{text}')
        for step in todo:
            self._remove_stale(step, keys[step.name])
        self.state.settings = {
            name: str(value.resolve()) if isinstance(value, Path) else value
            for name, value in asdict(self.request).items()
        } | {'trained_on': self.device.type}
        self.progress.line(f'$ cd {shlex.quote(str(self.folder))}')
        model = self.folder / names.MODEL
        try:
            for step in todo:
                self._run_step(step, keys[step.name], plan)
        except (KeyboardInterrupt, SystemExit):
            best = f". The best network so far is '{model}'" if model.exists() else ''
            self.progress.line(f'Stopped. The same command resumes the run{best}')
            raise
        self.progress.line(
            f"Finished after {duration(self.stopwatch.spent())}: '{self.folder / names.REPORT}' and '{model}'"
        )

    def _steps(self) -> Iterator[FitStep]:
        request, work = self.request, self.work
        yield FitStep('data', work.write_data, (names.DATA,), (request.scale, sub_image_count(request.seconds)))
        yield FitStep('camera', work.measure_camera, (names.CAMERA,))
        if request.preset == 'published':
            yield FitStep(
                'stage_1', work.train_stage_1, (names.experiment(names.DSN), 'tb_logger/dsn'), (request.seconds,)
            )
        yield FitStep('generate', work.generate, (names.GENERATED, names.PREVIEWS), (request.preset,))
        networks = (names.MODEL, names.experiment(names.SRN), 'tb_logger/srn')
        settings = (request.seconds, request.network, self._network_file(), self.device.type)
        yield FitStep('training', work.train_stage_2, networks, settings)
        yield FitStep('results', work.write_results, (names.REPORT, names.UPSCALED, names.EXPORT))

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
        """Refuse the run of another camera or, unless it was asked for, device, whose results would be removed."""
        for name in ('hr', 'lr') if self.state.settings else ():
            earlier, now = (Path(path).resolve() for path in (self.state.settings[name], getattr(self.request, name)))
            if earlier != now:
                raise InputError(
                    f"-o: '{self.folder}' has a run of --{name} '{earlier}', expected '{now}'. Choose another folder"
                )
        trained_on, device = self.state.settings.get('trained_on'), self.device.type
        if trained_on not in (None, device) and self.request.device is None:
            raise InputError(
                f"--device: got '{device}', but the run in '{self.folder}' is on '{trained_on}'. Pass --device"
                f' {trained_on} to continue it, or --device {device} to train again'
            )

    def _plan(self, todo: list[FitStep]) -> Plan:
        selection = select_images(self.request)
        network = choose_network(self.request.network, self.request.scale, self.device)
        step = measure_step(network, self.request.scale, self.device)
        is_resumed = self.state.settings.get('seconds') == self.request.seconds
        remaining, spent = [each.name for each in todo], self.stopwatch.spent()
        return make_plan(self.request, selection, network, step, self.device, remaining, spent, is_resumed)

    def _is_finished(self, step: FitStep, key: str) -> bool:
        return self.state.is_finished(step.name, key) and (self.folder / step.outputs[0]).exists()

    def _is_deleted(self, step: FitStep, key: str) -> bool:
        outputs = (self.folder / output for output in step.outputs)
        return self.state.is_finished(step.name, key) and not any(output.exists() for output in outputs)

    def _remove_stale(self, step: FitStep, key: str) -> None:
        """Remove the results of other inputs or settings, so that no part of the run mixes them with new ones."""
        if self.state.is_stale(step.name, key):
            self.progress.line(f'{step.name}: its earlier results are removed, because inputs or settings changed')
            self.state.remove(step.name)
            self._remove(step.outputs)

    def _run_step(self, step: FitStep, key: str, plan: Plan) -> None:
        self.stopwatch.beat(0)
        self.state.start(step.name, key)
        self.stopwatch.step = step.name
        try:
            step.run(plan)
        finally:
            self.stopwatch.beat(0)
        self.state.finish(step.name, key)

    def _remove(self, outputs: tuple[str, ...]) -> None:
        for path in (self.folder / output for output in outputs):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
