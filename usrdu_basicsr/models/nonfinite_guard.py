"""Stop a training whose losses are not numbers any more, without waiting for the device at each step."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from usrdu_basicsr.utils.errors import DivergenceError


class NonFiniteGuard:
    """Counts, for each loss and gradient, the iterations in a row in which it was lost: infinite or not a number.

    On a GPU the counts travel to the CPU while it works on; they are read at the next step that finds them there.

    Args:
        limit: So many in a row raise.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.names: list[str] = []
        self.counts: Tensor | None = None
        self.longest: Tensor | None = None
        self.arriving: tuple[Tensor, torch.cuda.Event] | None = None

    def __call__(self, lost: Mapping[str, Tensor], current_iter: int) -> None:
        """Count a step.

        Args:
            lost: Boolean scalars on one device, of the same names at each step.
            current_iter: For the message.

        Raises:
            DivergenceError: One was lost `limit` times in a row.
        """
        now = torch.stack(list(lost.values()))
        self.names = list(lost)
        self.counts = now.int() if self.counts is None else (self.counts + 1) * now
        self.longest = self.counts if self.longest is None else torch.maximum(self.longest, self.counts)
        if not now.is_cuda:
            self._check(self.longest, current_iter)
        elif self.arriving is None or self.arriving[1].query():
            if self.arriving is not None:
                self._check(self.arriving[0], current_iter)
            counts = torch.empty_like(self.longest, device='cpu', pin_memory=True)
            self.arriving = counts.copy_(self.longest, non_blocking=True), torch.cuda.Event()
            self.arriving[1].record()

    def lost(self) -> list[str]:
        """What was lost in the last step; waits for the device."""
        return [] if self.counts is None else self._from(self.counts, 1)

    def _from(self, counts: Tensor, least: int) -> list[str]:
        return [name for name, count in zip(self.names, counts.tolist(), strict=True) if count >= least]

    def _check(self, counts: Tensor, current_iter: int) -> None:
        if names := self._from(counts, self.limit):
            raise DivergenceError(
                f'iteration {current_iter}: not a finite number for {self.limit} iterations in a row:'
                f' {", ".join(names)}. Nothing was changed or saved in them: go on from the newest checkpoint'
                ' (--auto_resume), or the one before it, with a lower learning rate, train: grad_clip, or train:'
                ' precision: fp32'
            )
