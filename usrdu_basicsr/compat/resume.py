"""Resume a training: the checkpoint to resume from, and the images that follow."""

import contextlib
import io
import logging
import math
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from basicsr.utils import check_resume, get_root_logger

from usrdu_basicsr.compat.preflight import check_networks
from usrdu_basicsr.data.exchanged_folders import exchange_warning
from usrdu_basicsr.data.resumable_sampler import ResumableSampler, SeededDataset
from usrdu_basicsr.data.train_dataloader import TrainDataLoader
from usrdu_basicsr.data.unpaired_dataset import UnpairedImageDataset
from usrdu_basicsr.options.reading import is_usrdu_model
from usrdu_basicsr.utils import dist
from usrdu_basicsr.utils.checkpoint import read_checkpoint, training_states
from usrdu_basicsr.utils.errors import InputError, InputNotFoundError, UserError
from usrdu_basicsr.utils.files import remove_temporaries
from usrdu_basicsr.utils.stop_signal import stop_signal

SUPERSEDED_SUFFIX = '.superseded'  # of states later than the one resumed from
REQUIRED_KEYS = ('epoch', 'iter', 'optimizers', 'schedulers')


class Resumer:
    """Start of a training by BasicSR's launcher; its methods replace two functions of BasicSR.

    Attributes:
        opt: Options of the training.
        state: Training state that the training resumes from, or None.
        messages: Levels and texts of log messages, which are logged once BasicSR has set up its logger.
    """

    def __init__(self) -> None:
        self.opt: dict[str, Any] = {}
        self.state: dict[str, Any] | None = None
        self.messages: list[tuple[int, str]] = []

    def load_resume_state(self, opt: dict[str, Any]) -> dict[str, Any] | None:
        """Load the training state to resume from to the CPU; replaces BasicSR's `load_resume_state`.

        With `--auto_resume` this is the newest complete checkpoint: its state and networks are readable and belong to
        this training. All ranks resume from the checkpoint that rank 0 finds.

        Returns:
            Training state, or None to start from iteration 0.

        Raises:
            InputError: If the state is unreadable or of another training, or if `--auto_resume` finds states but no
                complete checkpoint.
            InputNotFoundError: If the state named in the options, or a network of it, does not exist.
        """
        self.opt, self.state, self.messages = opt, None, []
        path = None
        if opt['rank'] == 0:
            if opt['auto_resume']:
                path = self._newest_complete()
            elif path := opt['path'].get('resume_state') or None:
                check_complete(opt, path)
        path = dist.all_gather(path)[0]
        seed = dist.all_gather(opt['manual_seed'])[0]  # random on each rank if the options have none
        if path is not None:
            self.state = read_state(path)
            if opt['rank'] == 0 and is_usrdu_model(opt):
                self._clean_folders(self.state['iter'])
            self.messages.append((logging.INFO, f"Resumed from '{path}' at iteration {self.state['iter']}."))
            opt['path'].update(resumed_paths(opt, path, self.state['iter']))
            if (saved_seed := self.state.get('manual_seed', seed)) != seed:
                self.messages.append((logging.WARNING, f'Kept manual_seed {saved_seed} of the resumed training.'))
                seed = saved_seed
        if is_usrdu_model(opt):
            opt['manual_seed'] = seed
        return self.state

    def _newest_complete(self) -> str | None:
        folder = self.opt['path']['training_states']
        errors: list[UserError] = []
        for path in training_states(folder):
            try:
                check_complete(self.opt, path)
                return path
            except UserError as error:
                errors.append(error)
                self.messages.append((logging.WARNING, f'Checkpoint skipped: {error}.'))
        if errors:
            raise InputError(
                f"--auto_resume: no complete checkpoint among the {len(errors)} states in '{folder}'. Newest state:"
                f' {errors[0]}. Omit --auto_resume to start from iteration 0'
            )
        return None

    def _clean_folders(self, iteration: int) -> None:
        """Remove temporary files of killed processes, and rename states later than `iteration`."""
        paths = {key: Path(self.opt['path'][key]) for key in ('log', 'models', 'training_states', 'visualization')}
        for folder in (*paths.values(), *paths['visualization'].glob('**/')):
            remove_temporaries(folder)
        for later in map(Path, training_states(self.opt['path']['training_states'])):
            if int(later.stem) > iteration:
                os.replace(later, f'{later}{SUPERSEDED_SUFFIX}')
                message = f"Renamed later training state '{later}' to '{later.name}{SUPERSEDED_SUFFIX}'."
                self.messages.append((logging.WARNING, message))

    def build_dataloader(
        self, original: Callable[..., Any], dataset: Any, dataset_opt: Mapping[str, Any], **settings: Any
    ) -> Any:
        """Build the loader of a training with the images due after the resumed iteration, others as BasicSR does."""
        if dataset_opt['phase'] != 'train':
            return original(dataset, dataset_opt, **settings)

        for level, message in self.messages:
            get_root_logger().log(level, message)
        if not is_usrdu_model(self.opt):
            return original(dataset, dataset_opt, **settings)

        is_unpaired = isinstance(dataset, UnpairedImageDataset)
        if self.opt['rank'] == 0 and is_unpaired and (warning := exchange_warning(dataset.gt, dataset.lq)):
            get_root_logger().warning(warning)
        image_sampler = settings.pop('sampler')
        batch_size_per_gpu = dataset_opt['batch_size_per_gpu']
        gpus = 1 if self.opt['dist'] else max(self.opt['num_gpu'], 1)
        batch_size = batch_size_per_gpu * gpus
        if gpus > 1:
            get_root_logger().warning(
                f'Each step uses {batch_size} patches: batch_size_per_gpu {batch_size_per_gpu} on {gpus} GPUs of this'
                ' process. Set num_gpu: 1 or a smaller batch_size_per_gpu to keep the batch of the options file.'
            )
        batches = math.ceil(len(image_sampler) / batch_size_per_gpu)  # as the launcher counts them
        iteration = self.state['iter'] if self.state else 0
        sampler = ResumableSampler(image_sampler, self.opt['manual_seed'], batches, batch_size, iteration)
        if self.state:  # the epoch length depends on the batch size
            self.state['epoch'] = sampler.first_epoch
        loader = original(SeededDataset(dataset), dataset_opt, sampler=sampler, **settings)
        stop_signal.install(epoch=lambda: image_sampler.epoch)
        return TrainDataLoader(loader)


resumer = Resumer()  # shared by all modules of a launcher


def check_complete(opt: Mapping[str, Any], path: str) -> None:
    """Check that a training can resume from a state.

    Raises:
        InputError: If the state or one of its networks is damaged or of another training.
        InputNotFoundError: If the state or one of its networks does not exist.
    """
    state, expected = read_state(path), opt.get('model_type')
    if (model_type := state.get('model_type', expected)) != expected:
        raise InputError(f"training state '{path}': got model_type {model_type}, expected {expected}")
    if not is_usrdu_model(opt):
        return
    paths = resumed_paths(opt, path, state['iter'])
    for key, value in paths.items():
        if key.startswith('pretrain_network_') and value is not None and not os.path.isfile(value):
            raise InputNotFoundError(
                f"training state '{path}': network '{value}' does not exist. Resume from another state"
            )
    check_networks(opt, paths)


def read_state(path: str) -> dict[str, Any]:
    """Read a training state to the CPU.

    Raises:
        InputNotFoundError: If the file does not exist.
        InputError: If the file is damaged or not a training state.
    """
    state = read_checkpoint(path)
    if missing := [key for key in REQUIRED_KEYS if key not in state]:
        raise InputError(f"'{path}' is not a training state: missing {', '.join(missing)}")
    return state


def resumed_paths(opt: Mapping[str, Any], path: str, iteration: int) -> dict[str, Any]:
    """Return the section `path` of the options with the networks of the state's iteration, as BasicSR sets them."""
    resumed = {**opt, 'path': {**opt['path'], 'resume_state': path}}
    with contextlib.redirect_stdout(io.StringIO()):  # it prints every path
        check_resume(resumed, iteration)
    # BasicSR expects a checkpoint of every network, but the DSN of stage 2 is not trained and has none. And it changes
    # `param_key_*` to `params`, even of networks that `ignore_resume_networks` names.
    ignored = opt['path'].get('ignore_resume_networks') or ()
    kept = {'dsn', *(name.removeprefix('network_') for name in ([ignored] if isinstance(ignored, str) else ignored))}
    keys = {f'{option}_{net}' for option in ('pretrain_network', 'param_key') for net in kept}
    return resumed['path'] | {key: value for key, value in opt['path'].items() if key in keys}
