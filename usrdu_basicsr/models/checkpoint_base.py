"""Checkpoints and the validation history of a model."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from functools import cached_property
from pathlib import Path
from typing import Any

from basicsr.models.sr_model import SRModel
from basicsr.utils import get_root_logger
from basicsr.utils.dist_util import master_only
from torch import nn

from usrdu_basicsr.models.checkpoints import adapt_optimizer_states, match_memory_format, remove_old_checkpoints
from usrdu_basicsr.models.optimizer_step import OptimizerStep
from usrdu_basicsr.models.validation_history import ValidationHistory
from usrdu_basicsr.utils.checkpoint import check_weights, read_weights, write_checkpoint
from usrdu_basicsr.utils.stop_signal import stop_signal


class CheckpointBase(SRModel):
    """BasicSR's `SRModel` with atomic checkpoints, which are read without executing code, and exact resuming."""

    opt: dict[str, Any]
    net_d: Any  # discriminator, in `DistributedDataParallel` in distributed training; None without one
    optimizer_steps: list[OptimizerStep]

    @cached_property
    def history(self) -> ValidationHistory:
        """Metrics of all validations of this training."""
        return ValidationHistory(Path(self.opt['path']['log']) / 'validation.jsonl')

    def _update_best(self, current_iter: int | str, dataset_name: str, metrics: Mapping[str, float]) -> None:
        if not self._metric_options:  # the run was resumed without metrics
            return
        self._initialize_best_metric_results(dataset_name)
        for name, value in metrics.items():
            if name in self.best_metric_results[dataset_name]:
                self._update_best_metric_result(dataset_name, name, value, current_iter)

    @property
    def _metric_options(self) -> Mapping[str, Any]:
        return (self.opt.get('val') or {}).get('metrics') or {}

    def load_network(self, net: nn.Module, load_path: str, strict: bool = True, param_key: str = 'params') -> None:
        """Load a network without executing code of its checkpoint.

        Raises:
            InputNotFoundError: If the file does not exist.
            InputError: If the file is damaged, or does not fit the network and `strict` is true.
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
        self, net: nn.Module | list[nn.Module], net_label: str, current_iter: int, param_key: str | list[str] = 'params'
    ) -> None:
        """Write `{param_key: weights}` atomically to `models/<net_label>_<iter>.pth`."""
        nets = net if isinstance(net, list) else [net]
        keys = param_key if isinstance(param_key, list) else [param_key]
        content = {
            key: {name: value.cpu().contiguous() for name, value in self.get_bare_model(each).state_dict().items()}
            for each, key in zip(nets, keys, strict=True)
        }
        name = 'latest' if current_iter == -1 else current_iter
        write_checkpoint(Path(self.opt['path']['models'], f'{net_label}_{name}.pth'), content)

    @master_only
    def save_training_state(self, epoch: int, current_iter: int) -> None:
        """Write the training state atomically to `training_states/<iter>.state`.

        It contains no random state: random numbers depend on the seed, the rank and the iteration only.
        """
        if current_iter == -1:
            return
        state = {
            'epoch': epoch,
            'iter': current_iter,
            'model_type': self.opt['model_type'],
            'manual_seed': self.opt['manual_seed'],
            'optimizers': [optimizer.state_dict() for optimizer in self.optimizers],
            'schedulers': [scheduler.state_dict() for scheduler in self.schedulers],
            'optimizer_steps': [optimizer_step.state_dict() for optimizer_step in self.optimizer_steps],
        }
        write_checkpoint(self._state_path(current_iter), state)

    def _state_path(self, current_iter: int) -> Path:
        return Path(self.opt['path']['training_states'], f'{current_iter}.state')

    def resume_training(self, resume_state: dict[str, Any]) -> None:
        """Resume from a training state, which may be of another device, precision or memory format."""
        optimizers = adapt_optimizer_states(resume_state['optimizers'], self.optimizers)
        super().resume_training(deepcopy({**resume_state, 'optimizers': optimizers}))
        for optimizer in self.optimizers:
            match_memory_format(optimizer)
        states = resume_state.get('optimizer_steps', [])
        for optimizer_step, state in zip(self.optimizer_steps, states, strict=False):
            optimizer_step.load_state_dict(state)
        if self.opt['rank'] == 0:
            self.history.resume_from(resume_state['iter'])
            for record in self.history.records:
                self._update_best(record['iter'], record['dataset'], record['metrics'])

    def save(self, epoch: int, current_iter: int) -> None:
        """Write a checkpoint, and remove old ones beyond `logger: keep_checkpoints`.

        The training state is written last, so that each state has its networks.

        Raises:
            WriteError: If a file cannot be written; the previous checkpoint is unchanged.
        """
        is_main = self.opt['rank'] == 0
        if current_iter == -1:
            stop_signal.restore()  # the training is complete
        elif is_main:  # an existing state of this iteration is of another training and must not get these networks
            self._state_path(current_iter).unlink(missing_ok=True)
        if self.net_d is not None:
            self.save_network(self.net_d, 'net_d', current_iter)
        super().save(epoch, current_iter)
        keep = self.opt['logger'].get('keep_checkpoints')
        if keep is not None and current_iter != -1 and is_main:
            models, states = (Path(self.opt['path'][key]) for key in ('models', 'training_states'))
            metrics = self._metric_options
            remove_old_checkpoints(
                models, states, current_iter, keep, lambda iterations: self.history.best(iterations, metrics)
            )
