"""Common base of the models of both stages."""

from collections.abc import Iterable, Mapping, Sequence
from copy import deepcopy
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import torch
from basicsr.archs import build_network
from basicsr.losses import build_loss
from basicsr.models.sr_model import SRModel
from basicsr.utils import get_root_logger
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from usrdu_basicsr.models.checkpoints import load_training_state, remove_old_checkpoints, save_checkpoint
from usrdu_basicsr.models.discriminator_step import DiscriminatorStep
from usrdu_basicsr.models.nonfinite_guard import NonFiniteGuard
from usrdu_basicsr.models.optimizer_step import OptimizerStep
from usrdu_basicsr.models.time_estimate import TimeEstimate
from usrdu_basicsr.models.train_settings import TrainSettings
from usrdu_basicsr.models.validation import ValidationHistory, validate_dataset
from usrdu_basicsr.options.schema.checkpoints import PathOptions, TestPathOptions
from usrdu_basicsr.utils import dist
from usrdu_basicsr.utils.checkpoint import check_weights, read_weights
from usrdu_basicsr.utils.device import training_device
from usrdu_basicsr.utils.precision import AutocastModule, Precision
from usrdu_basicsr.utils.seed import derive_seed
from usrdu_basicsr.utils.stop_signal import STOPPED, stop_signal


class USRDUBaseModel(SRModel):
    """BasicSR's `SRModel` with an optional discriminator (`network_d` and `train: gan_opt`).

    Unlike BasicSR's models, it leaves the options unchanged, writes checkpoints atomically and reads them without
    executing code, logs losses without a device synchronization in each step, validates on all ranks, and supports the
    options of `TrainSettings`. Validation and testing compute in float32 (tf32 if the option asks for it).

    Subclasses define BasicSR's methods `feed_data`, `optimize_parameters`, `test` and `get_current_visuals`.

    Attributes:
        discriminator_step: Training of the discriminator, or None without one.
        path_key: Key of a batch with the path that names the validation results.
        unsaved_iter: Last iteration, or None once its checkpoint has been written.
    """

    opt: dict[str, Any]
    path_key: str
    discriminator_step: DiscriminatorStep | None = None
    unsaved_iter: int | None = None

    def __init__(self, opt: dict[str, Any]) -> None:
        self.train_settings = TrainSettings.from_options(opt['train'] if opt['is_train'] else {})
        self.precision = Precision(self.train_settings.precision, training_device(opt))
        self.precision.set_tf32()
        self.metric_options: Mapping[str, Any] = (opt.get('val') or {}).get('metrics') or {}
        given = deepcopy(opt)
        if not opt['is_train']:
            given['path']['param_key_g'] = TestPathOptions.from_options(opt['path']).param_key_g
        super().__init__(given)
        self.opt = opt  # BasicSR pops `type` from the options of optimizers and schedulers

    def model_to_device(self, net: nn.Module) -> nn.Module:
        """Move a network to its device, prepared for training as `TrainSettings` says."""
        return super().model_to_device(self.prepare(net) if self.is_train else net)

    def prepare(self, net: nn.Module) -> nn.Module:
        """Set the precision, compilation and memory format of a network."""
        self.precision.prepare(net)
        if self.train_settings.compile_mode is not None:
            net.compile(mode=self.train_settings.compile_mode)  # in place, so that the names of weights stay
        return net.to(memory_format=self.train_settings.memory_format)

    def init_training_settings(self) -> None:
        self.net_d: Any = None
        paths = PathOptions.from_options(self.opt['path'])
        if self.opt.get('network_d') is not None:
            self.net_d = self.model_to_device(build_network(self.opt['network_d'])).train()
            self.print_network(self.net_d)
            if paths.pretrain_network_d is not None:
                self.load_network(self.net_d, paths.pretrain_network_d, paths.strict_load_d, paths.param_key_d)
        super().init_training_settings()
        if self.ema_decay > 0:
            if paths.pretrain_network_g is not None and paths.resume_state is None and not paths.strict_load_g:
                self.model_ema(0)  # weights that the checkpoint lacks would be other random ones
            self.net_g_ema.to(memory_format=self.train_settings.memory_format)
        if isinstance(vgg := getattr(self.cri_perceptual, 'vgg', None), nn.Module):  # the loss stays in float32
            self.cri_perceptual.vgg = AutocastModule(self.prepare(vgg), self.precision)
        if self.net_d is not None:
            loss = build_loss(self.opt['train']['gan_opt']).to(self.device)
            self.discriminator_step = DiscriminatorStep(self.net_d, loss, self.optimizer_steps[1], self.precision)
        self.nonfinite_guard = NonFiniteGuard(self.train_settings.max_nonfinite_iters)
        self.time_estimate = TimeEstimate(int(self.opt['train']['total_iter']), self.device)

    def setup_optimizers(self) -> None:
        settings = dict(self.opt['train'].get('optim_d') or {})  # a copy, as a YAML alias may share it with optim_g
        super().setup_optimizers()
        if self.net_d is not None:
            self.optimizer_d = self.get_optimizer(settings.pop('type'), self.net_d.parameters(), **settings)
            self.optimizers.append(self.optimizer_d)
        self.optimizer_steps = [OptimizerStep(each, self.train_settings, self.device) for each in self.optimizers]

    def get_optimizer(self, optim_type: str, params: Any, lr: float, **kwargs: Any) -> torch.optim.Optimizer:
        """Build BasicSR's optimizer, fused unless the options choose another implementation."""
        if not {'fused', 'foreach', 'differentiable'} & kwargs.keys():
            kwargs['fused'] = True
        return super().get_optimizer(optim_type, params, lr, **kwargs)

    def begin_step(self, current_iter: int) -> None:
        """Seed the random numbers of a step, and mark its beginning for CUDA graphs."""
        torch.manual_seed(derive_seed(self.opt['manual_seed'], self.opt['rank'], current_iter))
        if self.train_settings.cuda_graphs:
            torch.compiler.cudagraph_mark_step_begin()

    def end_step(self, logs: Iterable[Mapping[str, Tensor]], current_iter: int) -> None:
        """Update the averaged weights and the log, and stop if a signal was received or the training diverges.

        The log contains the means of the losses of all micro-batches, `logs`. They stay on the device until
        `get_current_log` is called.
        """
        if self.ema_decay > 0:
            self.model_ema(decay=self.ema_decay)
        self.unsaved_iter = current_iter
        self.log_dict: dict[str, Tensor] = {}
        for log in logs:
            for name, value in log.items():
                part = value.detach() / self.train_settings.accum_iter
                self.log_dict[name] = self.log_dict[name] + part if name in self.log_dict else part
        nonfinite = {name: ~value.isfinite() for name, value in self.log_dict.items() if name.startswith('l_')}
        for name, optimizer_step in zip(('net_g', 'net_d'), self.optimizer_steps, strict=False):
            nonfinite[f'gradient of {name}'] = optimizer_step.nonfinite
        self.nonfinite_guard(nonfinite, current_iter)
        self.time_estimate(current_iter)
        self.stop_if_requested()

    def stop_if_requested(self) -> None:
        """Save a checkpoint and exit with status `STOPPED` if any rank received a signal. All ranks must call it."""
        if not dist.any_rank(stop_signal.received):
            return
        if self.unsaved_iter is not None:
            self.save(stop_signal.epoch(), self.unsaved_iter)
        dist.barrier()  # the first rank that exits may end the others, one of which may still be writing
        get_root_logger().warning('Stopped by a signal. Resume from the newest checkpoint with --auto_resume.')
        raise SystemExit(STOPPED)

    def get_current_log(self) -> dict[str, float]:
        """Return the losses of the last step, averaged over ranks. All ranks must call it."""
        return self.reduce_loss_dict(self.log_dict)

    def to_device(self, batch: Tensor) -> Tensor:
        """Copy a batch to the device, asynchronously from pinned memory."""
        batch = batch.to(self.device, non_blocking=True)
        if batch.is_cuda:  # BasicSR's prefetcher allocates it on another stream, which must not reuse the memory early
            batch.record_stream(torch.cuda.current_stream())
        return batch

    def model_ema(self, decay: float = 0.999) -> None:
        """Update the averaged weights, all in one operation."""
        average = get_ema_multi_avg_fn(decay)
        with torch.no_grad():
            average(list(self.net_g_ema.parameters()), list(self.get_bare_model(self.net_g).parameters()), None)

    def infer(self, x: Tensor, **settings: Any) -> Any:
        """Run the averaged weights, if any, on images of any size in float32.

        `forward` is called directly, because a compiled network would be compiled again for each size.
        """
        net = self.get_bare_model(getattr(self, 'net_g_ema', self.net_g)).eval()
        with torch.no_grad():
            output = net.forward(x, **settings)
        self.net_g.train(self.is_train)
        return output

    def validation(self, dataloader: Any, current_iter: int | str, tb_logger: Any, save_img: bool = False) -> None:
        """Validate on the dataset of BasicSR's loader, log `val: metrics:`, and write the images if `save_img` is true.

        `current_iter` is the name of a test. `tb_logger` is the TensorBoard writer on rank 0, or None; it gets the
        images of the first item.
        """
        if self.is_train:  # after the last iteration BasicSR passes a larger one
            current_iter = min(int(current_iter), int(self.opt['train']['total_iter']))
        name = dataloader.dataset.opt['name']
        if metrics := validate_dataset(self, dataloader.dataset, current_iter, save_img, tb_logger):
            self.metric_results = {name: metrics[name] for name in metrics if name in self.metric_options}
            if isinstance(current_iter, int) and self.opt['rank'] == 0:
                self.history.add(current_iter, name, metrics)
            self._update_best(current_iter, name, metrics)
            self._log_validation_metric_values(current_iter, name, tb_logger)
            others = {key: metrics[key] for key in sorted(metrics.keys() - self.metric_options.keys())}
            if others:
                numbers = ', '.join(f'{key}: {value:.3f}' for key, value in others.items())
                get_root_logger().info(f'Validation {name}: {numbers}')
            if tb_logger is not None:
                for key, value in others.items():
                    tb_logger.add_scalar(f'metrics/{name}/{key}', value, current_iter)

    def image_statistics(self, index: int) -> Any:
        """Statistics of the last tested image, for `dataset_metrics`."""
        return None

    def dataset_metrics(self, statistics: Sequence[Any]) -> dict[str, float]:
        """Metrics of a whole validation dataset from the `image_statistics` of all of its images, on each rank."""
        return {}

    @cached_property
    def history(self) -> ValidationHistory:
        """Metrics of all validations of this training."""
        return ValidationHistory(Path(self.opt['path']['log'], 'validation.jsonl'))

    def _update_best(self, current_iter: int | str, dataset_name: str, metrics: Mapping[str, float]) -> None:
        for name in metrics.keys() & self.metric_options.keys():  # a resumed run may have other metrics
            self._initialize_best_metric_results(dataset_name)
            self._update_best_metric_result(dataset_name, name, metrics[name], current_iter)

    def load_network(self, net: nn.Module, load_path: str, strict: bool = True, param_key: str = 'params') -> None:
        """Load a network without executing code of its checkpoint; an InputError if it is corrupt or does not fit."""
        net = self.get_bare_model(net)
        weights = read_weights(load_path, param_key, net.state_dict())
        if strict:
            check_weights(net, weights, load_path)
        else:
            self._print_different_keys_loading(net, weights, strict)
        net.load_state_dict(weights, strict=strict)
        get_root_logger().info(f'Loaded {type(net).__name__} from {load_path}.')

    def save(self, epoch: int, current_iter: int) -> None:
        """Write a checkpoint, unless the last step was non-finite, and remove old ones (`logger: keep_checkpoints`)."""
        if names := self.nonfinite_guard.last_nonfinite():
            get_root_logger().warning(f'Checkpoint skipped: non-finite {", ".join(names)}.')
            return
        if current_iter == -1:
            stop_signal.restore()  # the training is complete
        if self.opt['rank'] == 0:
            save_checkpoint(self, epoch, current_iter)
            keep = self.opt['logger'].get('keep_checkpoints')
            if keep is not None and current_iter != -1:
                models, states = (Path(self.opt['path'][key]) for key in ('models', 'training_states'))
                best = partial(self.history.best, metrics=self.metric_options)
                remove_old_checkpoints(models, states, current_iter, keep, best)
        self.unsaved_iter = None

    def resume_training(self, resume_state: dict[str, Any]) -> None:
        """Resume the optimizers, the schedulers and, on rank 0, the best metrics."""
        load_training_state(self, resume_state)
        if self.opt['rank'] == 0:
            self.history.resume_from(resume_state['iter'])
            for record in self.history.records:
                self._update_best(record['iter'], record['dataset'], record['metrics'])
