"""From losses to new weights: loss scaling, clipping, no step on gradients that are not finite."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from usrdu_basicsr.models.train_settings import TrainSettings

NO_GROWTH_INTERVAL = 2**31 - 1


class OptimizerStep:
    """The backward passes and the step of one optimizer.

    A step whose losses or gradients are not all finite is left out. That is found on the device, without waiting for
    it where the optimizer is fused, by torch's `GradScaler`; its scale stays at 1 in all formats but fp16.

    Args:
        optimizer: Of one network.
        settings: Its `precision`, `accum_iter` and `grad_clip` are used.
        device: Of the network.

    Attributes:
        lost: Whether the last step was left out for good, a boolean scalar on the device. A step in fp16 that was left
            out because the loss scale was too high is not lost: the scale is lowered until it is 1.
    """

    lost: Tensor

    def __init__(self, optimizer: torch.optim.Optimizer, settings: TrainSettings, device: torch.device) -> None:
        self.optimizer = optimizer
        self.settings = settings
        self.scaled = settings.precision == 'fp16'
        growth_interval = 2000 if self.scaled else NO_GROWTH_INTERVAL
        init_scale = 2.0**16 if self.scaled else 1.0
        self.scaler = torch.amp.GradScaler(device.type, init_scale, growth_interval=growth_interval)
        self.one = torch.ones((), device=device)

    def backward(self, *losses: Tensor) -> None:
        """Add the gradients of the losses of a part of the batch; `accum_iter` parts make a step."""
        total = torch.stack(losses).sum() / self.settings.accum_iter
        # The gradient of a lost loss can be finite, as the sign of nan is 0, and must not be used: let it be nan too.
        self.scaler.scale(total * torch.where(total.isfinite(), 1.0, math.nan)).backward()

    def step(self) -> None:
        """Change the weights by the gradients, and clear those."""
        if self.settings.grad_clip is not None:
            self.scaler.unscale_(self.optimizer)
            parameters = [parameter for group in self.optimizer.param_groups for parameter in group['params']]
            torch.nn.utils.clip_grad_norm_(parameters, self.settings.grad_clip)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.lost = self.scaler.scale(self.one) < 1  # a step that was left out halves the scale
        if not self.scaled:
            self.scaler.update(1.0)
        self.optimizer.zero_grad(set_to_none=True)

    def state_dict(self) -> dict[str, Any]:
        """The loss scale, where there is one to keep."""
        return self.scaler.state_dict() if self.scaled else {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on with a loss scale; of a run in another format there is none."""
        if self.scaled and state:
            self.scaler.load_state_dict(state)


def match_parameters(optimizer: torch.optim.Optimizer) -> None:
    """Lay out the state of an optimizer in memory as its parameters, which fused steps rely on."""
    for parameter, state in optimizer.state.items():
        for name, value in state.items():
            if isinstance(value, Tensor) and value.shape == parameter.shape:
                state[name] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)
