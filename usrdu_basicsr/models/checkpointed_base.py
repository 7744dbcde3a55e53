"""Checkpoints of a training: safe to load, written whole or not at all, for any machine to go on from."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from functools import cached_property
from os import path as osp
from pathlib import Path
from typing import Any

from basicsr.models.sr_model import SRModel
from basicsr.utils import get_root_logger
from basicsr.utils.dist_util import master_only
from torch import nn

from usrdu_basicsr.models.kept_checkpoints import remove_old_checkpoints
from usrdu_basicsr.models.optimizer_step import OptimizerStep, match_parameters
from usrdu_basicsr.models.validation_history import ValidationHistory
from usrdu_basicsr.utils import dist
from usrdu_basicsr.utils.checkpoint import check_weights, read_weights, write_checkpoint
from usrdu_basicsr.utils.errors import InputError
from usrdu_basicsr.utils.stop_signal import STOPPED, stop_signal


class CheckpointedModel(SRModel):
    """BasicSR's `SRModel` with another way to read and write its files, and the discriminator's, if it has one.

    Attributes:
        unsaved_iter: The last iteration, while no checkpoint of it has been written.
    """

    opt: dict[str, Any]
    net_d: Any  # a network, perhaps in its distributed wrapper; None without a discriminator
    optimizer_steps: list[OptimizerStep]
    unsaved_iter: int | None = None

    @cached_property
    def history(self) -> ValidationHistory:
        """What the validations of this training measured."""
        return ValidationHistory(Path(self.opt['path']['log']) / 'validation.jsonl')

    def load_network(self, net: nn.Module, load_path: str, strict: bool = True, param_key: str = 'params') -> None:
        """BasicSR's, on weights read without executing pickled code.

        Raises:
            InputNotFoundError: There is no such file.
            InputError: It is damaged, or strictly loaded and not of this network.
        """
        net = self.get_bare_model(net)
        weights = read_weights(load_path, param_key, net.state_dict())
        if strict:
            check_weights(net, weights, load_path)
        else:
            self._print_different_keys_loading(net, weights, strict)
        net.load_state_dict(weights, strict=strict)
        get_root_logger().info(f'Loaded {type(net).__name__} from {load_path}.')

    @master_only
    def save_network(
        self,
        net: nn.Module | list[nn.Module],
        net_label: str,
        current_iter: int,
        param_key: str | list[str] = 'params',
    ) -> None:
        """Write `{param_key: weights}` to `models/<net_label>_<iter>.pth`, whole or not at all.

        Raises:
            WriteError: The file cannot be written; the previous one is intact.
        """
        nets = net if isinstance(net, list) else [net]
        keys = param_key if isinstance(param_key, list) else [param_key]
        content = {}
        for one, key in zip(nets, keys, strict=True):
            content[key] = {k: v.cpu().contiguous() for k, v in self.get_bare_model(one).state_dict().items()}
        write_checkpoint(self._checkpoint_path('models', net_label + '_{}.pth', current_iter), content)

    @master_only
    def save_training_state(self, epoch: int, current_iter: int) -> None:
        """Write what resuming needs to `training_states/<iter>.state`, whole or not at all.

        It holds no random numbers: those of an iteration follow from the seed, the rank and the iteration.

        Raises:
            WriteError: The file cannot be written; the previous one is intact.
        """
        if current_iter == -1:
            return
        state: dict[str, Any] = {
            'epoch': epoch,
            'iter': current_iter,
            'model_type': self.opt['model_type'],
            'manual_seed': self.opt['manual_seed'],
            'optimizers': [optimizer.state_dict() for optimizer in self.optimizers],
            'schedulers': [scheduler.state_dict() for scheduler in self.schedulers],
            'optimizer_steps': [optimizer_step.state_dict() for optimizer_step in self.optimizer_steps],
        }
        write_checkpoint(self._checkpoint_path('training_states', '{}.state', current_iter), state)

    def resume_training(self, resume_state: dict[str, Any]) -> None:
        """BasicSR's; a state of another device, precision or memory format, or without a loss scale, serves as well.

        Raises:
            InputError: The state is of a run with a discriminator and this has none, or the other way round.
        """
        resume_state = deepcopy(resume_state)
        saved = resume_state['optimizers']
        if len(saved) != len(self.optimizers):
            raise InputError(
                f'the state to resume from has {len(saved)} optimizers, the run {len(self.optimizers)}: one of them has'
                ' a discriminator (network_d), the other has not'
            )
        for state, optimizer in zip(saved, self.optimizers, strict=True):
            for group in state['param_groups']:
                # as this run has them; `fused` decides where the loaded step counts go
                group |= {key: optimizer.defaults[key] for key in ('fused', 'foreach')}
        super().resume_training(resume_state)
        for optimizer in self.optimizers:
            match_parameters(optimizer)
        for optimizer_step, state in zip(self.optimizer_steps, resume_state.get('optimizer_steps', []), strict=False):
            optimizer_step.load_state_dict(state)
        if self.opt['rank'] == 0:
            self.history.resume_from(resume_state['iter'])
            for record in self.history.records:
                self._note_best(record['iter'], record['dataset'], record['metrics'])

    def _checkpoint_path(self, folder: str, template: str, current_iter: int) -> str:
        return osp.join(self.opt['path'][folder], template.format('latest' if current_iter == -1 else current_iter))

    def save(self, epoch: int, current_iter: int) -> None:
        """Write the discriminator, then what `SRModel` writes: the state last, so that a state has its networks.

        Then remove what `logger: keep_checkpoints` says.

        Raises:
            WriteError: A file cannot be written; the previous checkpoint is intact.
        """
        if current_iter == -1:
            stop_signal.restore()  # there is nothing left to save
        elif self.opt['rank'] == 0:  # one of this iteration is another training's: it must not get these networks
            Path(self._checkpoint_path('training_states', '{}.state', current_iter)).unlink(missing_ok=True)
        if self.net_d is not None:
            self.save_network(self.net_d, 'net_d', current_iter)
        super().save(epoch, current_iter)
        self.unsaved_iter = None
        keep = self.opt['logger'].get('keep_checkpoints')
        if keep is not None and current_iter != -1 and self.opt['rank'] == 0:
            models, states = Path(self.opt['path']['models']), Path(self.opt['path']['training_states'])
            metrics = self._metrics()
            remove_old_checkpoints(
                models, states, current_iter, keep, lambda iterations: self.history.best(iterations, metrics)
            )

    def _metrics(self) -> Mapping[str, Any]:
        return (self.opt.get('val') or {}).get('metrics') or {}

    def stop_if_requested(self) -> None:
        """Save and end the process where any rank got SIGINT or SIGTERM. All ranks must call it together.

        Raises:
            SystemExit: With the status `STOPPED`.
        """
        if not dist.any_rank(stop_signal.received):
            return
        if self.unsaved_iter is not None:
            self.save(stop_signal.epoch(), self.unsaved_iter)
        dist.barrier()  # the first to end may take the others with it, while one still writes
        get_root_logger().warning('Stopped by a signal. --auto_resume goes on from the newest checkpoint.')
        raise SystemExit(STOPPED)

    def _note_best(self, current_iter: int | str, dataset_name: str, metrics: Mapping[str, float]) -> None:
        if not self._metrics():  # of a resumed run, which had some before
            return
        self._initialize_best_metric_results(dataset_name)
        for name, value in metrics.items():
            if name in self.best_metric_results[dataset_name]:
                self._update_best_metric_result(dataset_name, name, value, current_iter)
