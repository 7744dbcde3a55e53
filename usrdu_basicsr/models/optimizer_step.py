"""From losses to updated weights: loss scaling, gradient clipping, no update from non-finite gradients."""

import math
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from usrdu_basicsr.models.train_settings import TrainSettings

NO_GROWTH_INTERVAL = 2**31 - 1


class OptimizerStep:
    """Backward passes and weight update of the optimizer of one network.

    Non-finite losses or gradients do not update the weights. `GradScaler` detects them on the device, without a
    synchronization if the optimizer is fused. Its scale stays at 1 except in fp16.

    Attributes:
        nonfinite: Whether the last update was skipped because of a non-finite gradient, a boolean scalar on the device.
            False if a lower loss scale may avoid it: in fp16 each skipped update halves the scale, down to 1.
    """

    nonfinite: Tensor

    def __init__(self, optimizer: torch.optim.Optimizer, settings: TrainSettings, device: torch.device) -> None:
        self.optimizer = optimizer
        self.settings = settings
        self.scaled = settings.precision == 'fp16'
        scale, growth_interval = (2.0**16, 2000) if self.scaled else (1.0, NO_GROWTH_INTERVAL)
        self.scaler = torch.amp.GradScaler(device.type, scale, growth_interval=growth_interval)
        self.one = torch.ones((), device=device)

    def backward(self, *losses: Tensor) -> None:
        """Add the gradients of a micro-batch; a step has `accum_iter` of them."""
        total = torch.stack(losses).sum() / self.settings.accum_iter
        # The gradient of a non-finite loss can be finite, as sign(nan) is 0. Make it nan, so that it is detected.
        self.scaler.scale(total * torch.where(total.isfinite(), 1.0, math.nan)).backward()

    def step(self) -> None:
        """Update the weights and clear the gradients."""
        if self.settings.grad_clip is not None:
            self.scaler.unscale_(self.optimizer)
            parameters = [parameter for group in self.optimizer.param_groups for parameter in group['params']]
            torch.nn.utils.clip_grad_norm_(parameters, self.settings.grad_clip)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        scale = self.scaler.scale(self.one)
        self.nonfinite = scale < 1  # a skipped update halves the scale
        self.scaler.update(scale.clamp(min=1) if self.scaled else 1.0)
        self.optimizer.zero_grad(set_to_none=True)

    def state_dict(self) -> dict[str, Any]:
        """Loss scale in fp16, else empty."""
        return self.scaler.state_dict() if self.scaled else {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the loss scale. The empty state of a run in another precision is ignored."""
        if self.scaled and state:
            self.scaler.load_state_dict(state)


def grad_sync(net: nn.Module, enabled: bool) -> AbstractContextManager[Any]:
    """Context for the passes of a micro-batch; ranks all-reduce gradients only if enabled, once per step."""
    return net.no_sync() if isinstance(net, DistributedDataParallel) and not enabled else nullcontext()
