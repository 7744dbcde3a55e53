"""Run the steps that are not finished: measure the camera, generate, train, upscale, export, report."""

import shlex
import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

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
from usrdu_basicsr.utils.images import list_images
from usrdu_basicsr.utils.result_records import file_identity


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
        self.stopwatch = Stopwatch(self.state)
        self.device = pick_device(request.device)
        self.work = Steps(request, self.state, self.stopwatch, self.device, progress)

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
        networks = (names.experiment(names.SRN), 'tb_logger/srn', names.MODEL)
        settings = (request.seconds, request.network, self._network_file(), str(self.device))
        yield FitStep('training', work.train_stage_2, networks, settings)
        yield FitStep('results', work.write_results, (names.UPSCALED, names.EXPORT, names.REPORT))

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
        self.stopwatch.beat(0)
        if self.state.is_stale(step.name, key):
            self.progress.line(f'{step.name}: its earlier results are removed, because inputs or settings changed')
            self.state.remove(step.name)
            self._remove(step.outputs)
        self.state.start(step.name, key)
        self.stopwatch.step = step.name
        try:
            step.run(plan)
        finally:
            self.stopwatch.beat(0)
        self.state.finish(step.name, key)

    def _remove(self, outputs: tuple[str, ...]) -> None:
        for path in (self.folder / output for output in outputs):
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
