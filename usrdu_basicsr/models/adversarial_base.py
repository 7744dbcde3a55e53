"""What both stages share: a generator, an optional discriminator, how a step is computed, safe files."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from copy import deepcopy
from typing import Any

import torch
from basicsr.archs import build_network
from basicsr.losses import build_loss
from basicsr.utils import get_root_logger
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import get_ema_multi_avg_fn

from usrdu_basicsr.models.nonfinite_guard import NonFiniteGuard
from usrdu_basicsr.models.optimizer_step import OptimizerStep
from usrdu_basicsr.models.train_settings import TrainSettings
from usrdu_basicsr.models.validated_base import ValidatedModel
from usrdu_basicsr.utils.device import device_of
from usrdu_basicsr.utils.precision import AutocastModule, Precision
from usrdu_basicsr.utils.seed import derive_seed


class AdversarialModel(ValidatedModel):
    """BasicSR's `SRModel` with a discriminator where the options have `network_d` and `train: gan_opt`.

    Subclasses define `optimize_parameters`. Against BasicSR's `SRGANModel`: the discriminator is optional, options are
    left as they are, checkpoints are safe, losses wait on the device until they are printed, and `train:` takes what
    `TrainSettings` describes. Validation and testing compute in float32 (tf32, if that is asked for) whatever the
    training does.
    """

    def __init__(self, opt: dict[str, Any]) -> None:
        self.train_settings = TrainSettings.of(opt['train'] if opt['is_train'] else {})
        self.precision = Precision(self.train_settings.precision, device_of(opt))
        self.precision.set_tf32()
        super().__init__(opt)

    def model_to_device(self, net: nn.Module) -> nn.Module:
        """BasicSR's; networks are made ready for training as `TrainSettings` says."""
        return super().model_to_device(self._prepare(net) if self.is_train else net)

    def _prepare(self, net: nn.Module) -> nn.Module:
        self.precision.prepare(net)
        if self.train_settings.compile_mode is not None:
            net.compile(mode=self.train_settings.compile_mode)  # in place: its weights keep their names
        return net.to(memory_format=self.memory_format)

    @property
    def memory_format(self) -> torch.memory_format:
        """How images and weights lie in memory while training."""
        return torch.channels_last if self.train_settings.channels_last else torch.contiguous_format

    def init_training_settings(self) -> None:
        self.net_d = None
        if self.opt.get('network_d') is not None:
            self.net_d = self.model_to_device(build_network(self.opt['network_d'])).train()
            self.print_network(self.net_d)
            paths = self.opt['path']
            if paths.get('pretrain_network_d') is not None:
                self.load_network(
                    self.net_d,
                    paths['pretrain_network_d'],
                    paths.get('strict_load_d', True),
                    paths.get('param_key_d', 'params'),
                )
            self.cri_gan = build_loss(self.opt['train']['gan_opt']).to(self.device)
        super().init_training_settings()
        if self.ema_decay > 0:
            self.net_g_ema.to(memory_format=self.memory_format)  # as the weights that it averages
        if isinstance(vgg := getattr(self.cri_perceptual, 'vgg', None), nn.Module):  # the loss itself is not lowered
            self.cri_perceptual.vgg = AutocastModule(self._prepare(vgg), self.precision)
        self.nonfinite_guard = NonFiniteGuard(self.train_settings.max_nonfinite_iters)

    @contextmanager
    def _options_kept(self) -> Iterator[None]:
        """BasicSR's set-up functions pop `type` from the options: let them do it to a copy."""
        opt, self.opt = self.opt, deepcopy(self.opt)
        try:
            yield
        finally:
            self.opt = opt

    def setup_optimizers(self) -> None:
        with self._options_kept():
            super().setup_optimizers()
        if self.net_d is not None:
            settings = dict(self.opt['train']['optim_d'])
            self.optimizer_d = self.get_optimizer(settings.pop('type'), self.net_d.parameters(), **settings)
            self.optimizers.append(self.optimizer_d)
        self.optimizer_steps = [
            OptimizerStep(optimizer, self.train_settings, self.device) for optimizer in self.optimizers
        ]

    def get_optimizer(self, optim_type: str, params: Any, lr: float, **kwargs: Any) -> torch.optim.Optimizer:
        """BasicSR's, which changes all weights at once where the options do not ask for another way."""
        if not {'fused', 'foreach', 'differentiable'} & kwargs.keys():
            kwargs['fused'] = True
        return super().get_optimizer(optim_type, params, lr, **kwargs)

    def setup_schedulers(self) -> None:
        with self._options_kept():
            super().setup_schedulers()

    def begin_step(self, current_iter: int) -> None:
        """Let the step draw its random numbers, and tell CUDA graphs that what they made in the one before can go."""
        torch.manual_seed(derive_seed(self.opt['manual_seed'], self.opt['rank'], current_iter))
        if self.train_settings.cuda_graphs:
            torch.compiler.cudagraph_mark_step_begin()

    def end_step(self, parts: Iterable[Mapping[str, Tensor]], current_iter: int) -> None:
        """Average the weights, keep the losses, and stop if a signal asks for it.

        Args:
            parts: Losses of each part of the step; their means stay on the device until `get_current_log` reads them.
            current_iter: Iteration.

        Raises:
            DivergenceError: There have been too many steps with a loss that is not finite.
            SystemExit: The training has been asked to stop; a checkpoint has been written.
        """
        if self.ema_decay > 0:
            self.model_ema(decay=self.ema_decay)
        self.unsaved_iter = current_iter
        self.log_dict: dict[str, Tensor] = OrderedDict()
        for part in parts:
            for name, value in part.items():
                share = value.detach() / self.train_settings.accum_iter
                self.log_dict[name] = self.log_dict[name] + share if name in self.log_dict else share
        lost = {name: ~value.isfinite() for name, value in self.log_dict.items() if name.startswith('l_')}
        for name, optimizer_step in zip(('net_g', 'net_d'), self.optimizer_steps, strict=False):
            lost[f'gradient of {name}'] = optimizer_step.lost
        self.nonfinite_guard(lost, current_iter)
        self.stop_if_requested()

    def get_current_log(self) -> dict[str, float]:
        """Losses of the last step, averaged over ranks. All ranks must call it together."""
        return self.reduce_loss_dict(self.log_dict)

    def to_device(self, batch: Tensor) -> Tensor:
        """The batch where the networks are; on its way while the CPU goes on, if it lies in pinned memory."""
        batch = batch.to(self.device, non_blocking=True)
        if batch.is_cuda:  # BasicSR's prefetcher makes it on a stream of its own, which must not reuse it too early
            batch.record_stream(torch.cuda.current_stream())
        return batch

    def micro_batches(self, batch: Tensor) -> list[Tensor]:
        """The parts in which a batch goes through the networks.

        Raises:
            ValueError: It cannot be split into equal ones.
        """
        if len(batch) % self.train_settings.accum_iter:
            raise ValueError(
                f'a batch of {len(batch)} has no {self.train_settings.accum_iter} equal parts (accum_iter)'
            )
        return list(batch.to(memory_format=self.memory_format).chunk(self.train_settings.accum_iter))

    def grad_sync(self, net: nn.Module, last: bool) -> AbstractContextManager[Any]:
        """For passes through `net`: ranks share its gradients in the last one of a step alone."""
        return nullcontext() if last or not isinstance(net, DistributedDataParallel) else net.no_sync()

    def discriminator_logits(self, x: Tensor) -> Tensor:
        """Judge generated images in the generator's step: gradients reach `x` but not the discriminator.

        The discriminator is called without its distributed wrapper, which would await gradients to share.
        """
        net_d = self.net_d.module if isinstance(self.net_d, DistributedDataParallel) else self.net_d
        net_d.requires_grad_(False)
        try:
            return self.precision.run(net_d, x)
        finally:
            net_d.requires_grad_(True)

    def step_discriminator(self, real: list[Tensor], fake: list[Tensor], fake_first: bool) -> list[dict[str, Tensor]]:
        """One step of the discriminator.

        Args:
            real: Real images as the discriminator sees them, in parts.
            fake: Generated ones, as many, detached.
            fake_first: Which it sees first; its spectral norms advance with each look.

        Returns:
            Losses and mean logits of each part, for the log.
        """
        optimizer_step, logs = self.optimizer_steps[1], []
        order = ('fake', 'real') if fake_first else ('real', 'fake')
        for part, images in enumerate(zip(real, fake, strict=True)):
            log: dict[str, Tensor] = {}
            for name in order:
                last = part == len(real) - 1 and name == order[1]
                with self.grad_sync(self.net_d, last):
                    logits = self.precision.run(self.net_d, images[name == 'fake'])
                    loss = self.cri_gan(logits, name == 'real', is_disc=True)
                    # One backward a look: a second look under distribution would overwrite what the first one's needs.
                    optimizer_step.backward(loss)
                log |= {f'l_d_{name}': loss, f'out_d_{name}': logits.mean()}
            logs.append(log)
        optimizer_step.step()
        return logs

    def infer(self, x: Tensor, **settings: Any) -> Any:
        """What validation and testing measure: the output of the averaged weights, if there are any, in float32.

        It takes images of any size. `forward` itself is called, as a compiled network would be compiled anew for each.
        """
        net = self.get_bare_model(getattr(self, 'net_g_ema', self.net_g)).eval()
        with torch.no_grad():
            output = net.forward(x, **settings)
        self.net_g.train(self.is_train)
        return output

    def model_ema(self, decay: float = 0.999) -> None:
        """BasicSR's average of the weights, of all at once."""
        average = get_ema_multi_avg_fn(decay)
        with torch.no_grad():
            average(list(self.net_g_ema.parameters()), list(self.get_bare_model(self.net_g).parameters()), None)

    def save(self, epoch: int, current_iter: int) -> None:
        """Write checkpoints, unless the last step was lost: the weights may be what it was lost by."""
        if lost := self.nonfinite_guard.lost():
            get_root_logger().warning(f'Nothing is saved, as these are not finite numbers: {", ".join(lost)}.')
            return
        super().save(epoch, current_iter)
