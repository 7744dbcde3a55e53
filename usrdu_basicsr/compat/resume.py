"""From which checkpoint a training goes on, and with which images."""

from __future__ import annotations

import contextlib
import io
import logging
import math
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from basicsr.utils import check_resume, get_root_logger

from usrdu_basicsr.data.resumable_sampler import ResumableSampler, SeededDataset
from usrdu_basicsr.data.train_dataloader import TrainDataLoader
from usrdu_basicsr.options.preflight import check_networks
from usrdu_basicsr.options.reading import is_ours
from usrdu_basicsr.utils import dist
from usrdu_basicsr.utils.checkpoint import read_checkpoint, training_states
from usrdu_basicsr.utils.errors import InputError, InputNotFoundError, UserError
from usrdu_basicsr.utils.files import remove_temporaries
from usrdu_basicsr.utils.stop_signal import stop_signal

ASIDE = '.aside'
STATE = ('epoch', 'iter', 'optimizers', 'schedulers')


class Resumption:
    """How a training of BasicSR's launcher begins; its methods stand in for two functions of BasicSR's.

    Attributes:
        opt: The options.
        state: The checkpoint's state, from which the training goes on, if it does.
        to_log: Levels and messages; there is no log before the data are loaded.
    """

    def __init__(self) -> None:
        self.opt: dict[str, Any] = {}
        self.state: dict[str, Any] | None = None
        self.to_log: list[tuple[int, str]] = []

    def load_resume_state(self, opt: dict[str, Any]) -> dict[str, Any] | None:
        """BasicSR's `load_resume_state` for any machine: the state to resume from, on the CPU, or None.

        With `--auto_resume` it is that of the newest complete checkpoint: one whose state and networks can be read and
        belong to this run. All ranks go on from the one that the first finds.

        Raises:
            InputError: The state cannot be read or does not belong to this run, or with `--auto_resume` none does.
            InputNotFoundError: The state named in the options does not exist, or a network of it.
        """
        self.opt, self.state, self.to_log = opt, None, []
        path = None
        if opt['rank'] == 0:
            if opt['auto_resume']:
                path = self._newest_complete()
            elif path := opt['path'].get('resume_state') or None:
                check_complete(opt, path)
        path = dist.all_gather(path)[0]
        seed = dist.all_gather(opt['manual_seed'])[0]  # each rank drew its own, if the options have none
        if path is not None:
            self.state = read_state(path)
            if opt['rank'] == 0 and is_ours(opt):
                self._clear(self.state['iter'])
            self.to_log.append((logging.INFO, f'Resuming from {path}.'))
            opt['path'].update(resumed_paths(opt, path, self.state['iter']))
            if (kept := self.state.get('manual_seed', seed)) != seed:
                self.to_log.append((logging.WARNING, f'manual_seed stays {kept}, with which this training began.'))
                seed = kept
        if is_ours(opt):
            opt['manual_seed'] = seed
        return self.state

    def _newest_complete(self) -> str | None:
        reasons: list[str] = []
        for path in training_states(self.opt['path']['training_states']):
            try:
                check_complete(self.opt, path)
            except UserError as error:
                reasons.append(str(error))
                continue
            self.to_log += [(logging.WARNING, f'Not resumed from: {reason}.') for reason in reasons]
            return path
        if reasons:
            folder = self.opt['path']['training_states']
            raise InputError(
                f"--auto_resume: none of the {len(reasons)} states in '{folder}' can be gone on from. The newest:"
                f' {reasons[0]}. To start anew, leave --auto_resume out'
            )
        return None

    def _clear(self, iteration: int) -> None:
        """Remove what a killed process left, and set later states aside: they are not of the training that goes on."""
        paths = {key: Path(self.opt['path'][key]) for key in ('log', 'models', 'training_states', 'visualization')}
        for folder in (*paths.values(), *paths['visualization'].glob('*/')):
            remove_temporaries(folder)
        for later in map(Path, training_states(self.opt['path']['training_states'])):
            if int(later.stem) > iteration:
                os.replace(later, f'{later}{ASIDE}')
                self.to_log.append((logging.WARNING, f"'{later}' is later and now has {ASIDE} behind its name."))

    def build_dataloader(
        self, original: Callable[..., Any], dataset: Any, dataset_opt: Mapping[str, Any], **settings: Any
    ) -> Any:
        """BasicSR's `build_dataloader`; our models train on what is due after the iteration that they go on from."""
        if dataset_opt['phase'] != 'train':
            return original(dataset, dataset_opt, **settings)

        for level, message in self.to_log:
            get_root_logger().log(level, message)
        if not is_ours(self.opt):
            return original(dataset, dataset_opt, **settings)

        images = settings.pop('sampler')
        counted = dataset_opt['batch_size_per_gpu']
        batch_size = counted * (1 if self.opt['dist'] else max(self.opt['num_gpu'], 1))
        batches = math.ceil(len(images) / counted)  # as the launcher counts them
        iteration = self.state['iter'] if self.state else 0
        sampler = ResumableSampler(images, self.opt['manual_seed'], batches, batch_size, iteration)
        if self.state:  # BasicSR counts on from it, and with another batch size the epochs are others
            self.state['epoch'] = sampler.first_epoch
        loader = original(SeededDataset(dataset), dataset_opt, sampler=sampler, **settings)
        stop_signal.install(epoch=lambda: images.epoch)
        return TrainDataLoader(loader)


resumption = Resumption()  # one for all modules that a launcher is made of


def check_complete(opt: Mapping[str, Any], path: str) -> None:
    """Refuse a state from which a training cannot go on.

    Raises:
        InputError: It, or one of its networks, is damaged, or belongs to another run.
        InputNotFoundError: It, or one of its networks, does not exist.
    """
    state = read_state(path)
    if (kind := state.get('model_type', opt.get('model_type'))) != opt.get('model_type'):
        raise InputError(f"state '{path}' is of a training of {kind}, this is one of {opt.get('model_type')}")
    paths = resumed_paths(opt, path, state['iter'])
    if not is_ours(opt):
        return  # which networks it reads is its own affair
    for key, value in paths.items():
        if key.startswith('pretrain_network_') and value is not None and not os.path.isfile(value):
            raise InputNotFoundError(f"state '{path}' lacks its network '{value}': resume from another state")

    check_networks(opt, paths)


def read_state(path: str) -> dict[str, Any]:
    """The state that a training wrote, on the CPU; optimizers move what they load to their parameters' device.

    Raises:
        InputNotFoundError: There is no such file.
        InputError: It is damaged, or something else.
    """
    state = read_checkpoint(path)
    if missing := [key for key in STATE if key not in state]:
        raise InputError(f"'{path}' is no state of a training: it holds no {', '.join(missing)}")
    return state


def resumed_paths(opt: Mapping[str, Any], path: str, iteration: int) -> dict[str, Any]:
    """The section `path` of the options, with the networks of the state's iteration, as BasicSR sets them."""
    resumed = {**opt, 'path': {**opt['path'], 'resume_state': path}}
    with contextlib.redirect_stdout(io.StringIO()):  # it tells each path, of checkpoints that are only looked at too
        check_resume(resumed, iteration)
    # BasicSR expects a saved file of every network; the DSN of stage 2 is not trained and has none.
    dsn = {key: value for key, value in opt['path'].items() if key in ('pretrain_network_dsn', 'param_key_dsn')}
    return resumed['path'] | dsn
