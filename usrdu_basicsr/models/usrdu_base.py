"""Common base of the models of both stages."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from typing import Any

import numpy as np
import torch
from basicsr.archs import build_network
from basicsr.losses import build_loss
from basicsr.utils import get_root_logger
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from usrdu_basicsr.models.checkpoint_base import CheckpointBase
from usrdu_basicsr.models.discriminator_step import DiscriminatorStep
from usrdu_basicsr.models.nonfinite_guard import NonFiniteGuard
from usrdu_basicsr.models.optimizer_step import OptimizerStep
from usrdu_basicsr.models.train_settings import TrainSettings
from usrdu_basicsr.models.validation import validate_dataset
from usrdu_basicsr.utils import dist
from usrdu_basicsr.utils.device import training_device
from usrdu_basicsr.utils.precision import AutocastModule, Precision
from usrdu_basicsr.utils.seed import derive_seed
from usrdu_basicsr.utils.stop_signal import STOPPED, stop_signal


class USRDUBase(CheckpointBase):
    """BasicSR's `SRModel` with an optional discriminator (`network_d` and `train: gan_opt`).

    Unlike BasicSR's models, it leaves the options unchanged, writes checkpoints atomically and reads them without
    executing code, logs losses without a device synchronization in each step, validates on all ranks, and supports the
    options of `TrainSettings`. Validation and testing compute in float32 (tf32 if the option asks for it).

    Subclasses define `feed_data`, `optimize_parameters`, `test`, `get_current_visuals` and `validation_images`.

    Attributes:
        discriminator_step: Training of the discriminator, or None without one.
        path_key: Key of a batch with the path that names the validation results.
        unsaved_iter: Last iteration, or None once its checkpoint has been written.
    """

    path_key: str
    discriminator_step: DiscriminatorStep | None = None
    unsaved_iter: int | None = None

    def __init__(self, opt: dict[str, Any]) -> None:
        self.train_settings = TrainSettings.from_options(opt['train'] if opt['is_train'] else {})
        self.precision = Precision(self.train_settings.precision, training_device(opt))
        self.precision.set_tf32()
        super().__init__(opt)

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
        self.net_d = None
        if self.opt.get('network_d') is not None:
            paths = self.opt['path']
            self.net_d = self.model_to_device(build_network(self.opt['network_d'])).train()
            self.print_network(self.net_d)
            if (path := paths.get('pretrain_network_d')) is not None:
                self.load_network(
                    self.net_d, path, paths.get('strict_load_d', True), paths.get('param_key_d', 'params')
                )
        super().init_training_settings()
        if self.ema_decay > 0:
            self.net_g_ema.to(memory_format=self.train_settings.memory_format)
        if isinstance(vgg := getattr(self.cri_perceptual, 'vgg', None), nn.Module):  # the loss stays in float32
            self.cri_perceptual.vgg = AutocastModule(self.prepare(vgg), self.precision)
        if self.net_d is not None:
            loss = build_loss(self.opt['train']['gan_opt']).to(self.device)
            self.discriminator_step = DiscriminatorStep(self.net_d, loss, self.optimizer_steps[1], self.precision)
        self.nonfinite_guard = NonFiniteGuard(self.train_settings.max_nonfinite_iters)

    @contextmanager
    def _copied_options(self) -> Iterator[None]:
        """Let BasicSR's functions, which pop `type` from the options, change a copy."""
        opt, self.opt = self.opt, deepcopy(self.opt)
        try:
            yield
        finally:
            self.opt = opt

    def setup_optimizers(self) -> None:
        with self._copied_options():
            super().setup_optimizers()
        if self.net_d is not None:
            settings = dict(self.opt['train']['optim_d'])
            self.optimizer_d = self.get_optimizer(settings.pop('type'), self.net_d.parameters(), **settings)
            self.optimizers.append(self.optimizer_d)
        self.optimizer_steps = [OptimizerStep(each, self.train_settings, self.device) for each in self.optimizers]

    def get_optimizer(self, optim_type: str, params: Any, lr: float, **kwargs: Any) -> torch.optim.Optimizer:
        """Build BasicSR's optimizer, fused unless the options choose another implementation."""
        if not {'fused', 'foreach', 'differentiable'} & kwargs.keys():
            kwargs['fused'] = True
        return super().get_optimizer(optim_type, params, lr, **kwargs)

    def setup_schedulers(self) -> None:
        with self._copied_options():
            super().setup_schedulers()

    def begin_step(self, current_iter: int) -> None:
        """Seed the random numbers of a step, and mark its beginning for CUDA graphs."""
        torch.manual_seed(derive_seed(self.opt['manual_seed'], self.opt['rank'], current_iter))
        if self.train_settings.cuda_graphs:
            torch.compiler.cudagraph_mark_step_begin()

    def end_step(self, logs: Iterable[Mapping[str, Tensor]], current_iter: int) -> None:
        """Update the averaged weights and the log, and stop if a signal was received.

        Args:
            logs: Losses of each micro-batch. Their means stay on the device until `get_current_log` is called.
            current_iter: Iteration.

        Raises:
            DivergenceError: If too many consecutive steps had a non-finite loss or gradient.
            SystemExit: If a signal was received; a checkpoint has been written.
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
        self.stop_if_requested()

    def get_current_log(self) -> dict[str, float]:
        """Return the losses of the last step, averaged over ranks. All ranks must call it."""
        return self.reduce_loss_dict(self.log_dict)

    def to_device(self, batch: Tensor) -> Tensor:
        """Copy a batch to the device, asynchronously from pinned memory."""
        batch = batch.to(self.device, non_blocking=True)
        if batch.is_cuda:  # BasicSR's prefetcher allocates it on another stream, which must not reuse the memory early
            batch.record_stream(torch.cuda.current_stream())
        return batch

    def micro_batches(self, batch: Tensor) -> list[Tensor]:
        """Split a batch into `accum_iter` micro-batches; a ValueError if they would differ in size."""
        count = self.train_settings.accum_iter
        if len(batch) % count:
            raise ValueError(f'accum_iter: got {count}, expected a divisor of the batch size {len(batch)}')
        return list(batch.to(memory_format=self.train_settings.memory_format).chunk(count))

    def infer(self, x: Tensor, **settings: Any) -> Any:
        """Run the averaged weights, if any, on images of any size in float32.

        `forward` is called directly, because a compiled network would be compiled again for each size.
        """
        net = self.get_bare_model(getattr(self, 'net_g_ema', self.net_g)).eval()
        with torch.no_grad():
            output = net.forward(x, **settings)
        self.net_g.train(self.is_train)
        return output

    def model_ema(self, decay: float = 0.999) -> None:
        """Update the averaged weights, all in one operation."""
        average = get_ema_multi_avg_fn(decay)
        with torch.no_grad():
            average(list(self.net_g_ema.parameters()), list(self.get_bare_model(self.net_g).parameters()), None)

    def validation_images(self) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        """Return the results of the last call of `test`.

        Returns:
            Arguments of metrics: `img` and, with ground truth, `img2`, both `(H, W, 3)` uint8, BGR, and others that
            metrics may need; images to write, by the suffix of their name.
        """
        raise NotImplementedError

    def validation(self, dataloader: Any, current_iter: int | str, tb_logger: Any, save_img: bool = False) -> None:
        """Validate on a dataset, log `val: metrics:`, and write the images if `save_img` is true.

        Args:
            dataloader: BasicSR's loader, of which only the dataset is used.
            current_iter: Iteration, or the name of a test.
            tb_logger: TensorBoard writer on rank 0, or None.
            save_img: Write the images.
        """
        if self.is_train:  # after the last iteration BasicSR passes a larger one
            current_iter = min(int(current_iter), int(self.opt['train']['total_iter']))
        name = dataloader.dataset.opt['name']
        metrics = validate_dataset(self, dataloader.dataset, current_iter, save_img)
        if not metrics:
            return
        self.metric_results = metrics
        if isinstance(current_iter, int) and self.opt['rank'] == 0:
            self.history.add(current_iter, name, metrics)
        self._update_best(current_iter, name, metrics)
        self._log_validation_metric_values(current_iter, name, tb_logger)

    def save(self, epoch: int, current_iter: int) -> None:
        """Write a checkpoint, unless the last step had a non-finite loss or gradient."""
        if names := self.nonfinite_guard.last_nonfinite():
            get_root_logger().warning(f'Checkpoint skipped: non-finite {", ".join(names)}.')
            return
        super().save(epoch, current_iter)
        self.unsaved_iter = None

    def stop_if_requested(self) -> None:
        """Save a checkpoint and exit with status `STOPPED` if any rank received a signal. All ranks must call it."""
        if not dist.any_rank(stop_signal.received):
            return
        if self.unsaved_iter is not None:
            self.save(stop_signal.epoch(), self.unsaved_iter)
        dist.barrier()  # the first rank that exits may end the others, one of which may still be writing
        get_root_logger().warning('Stopped by a signal. Resume from the newest checkpoint with --auto_resume.')
        raise SystemExit(STOPPED)
