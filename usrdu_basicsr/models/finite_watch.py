"""Stop a training whose losses are not numbers any more, without waiting for the device at each step."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from usrdu_basicsr.errors import DivergenceError


class FiniteWatch:
    """Counts, for each loss, the iterations in a row in which it was not finite.

    On a GPU the counts travel to the CPU while it works on; they are read at the next step that finds them there.

    Args:
        limit: So many in a row raise.
        remedy: End of the error's message.
    """

    def __init__(self, limit: int, remedy: str) -> None:
        self.limit = limit
        self.remedy = remedy
        self.counts: Tensor | None = None
        self.arriving: tuple[Tensor, torch.cuda.Event] | None = None

    def __call__(self, losses: Mapping[str, Tensor], current_iter: int) -> None:
        """Look at the losses of a step, scalars, the same ones at each step.

        Raises:
            DivergenceError: One was not finite `limit` times in a row.
        """
        lost = ~torch.stack([loss.detach() for loss in losses.values()]).isfinite()
        self.counts = lost.int() if self.counts is None else (self.counts + 1) * lost
        if self.counts.device.type != 'cuda':
            self._check(self.counts, losses, current_iter)
        elif self.arriving is None or self.arriving[1].query():
            if self.arriving is not None:
                self._check(self.arriving[0], losses, current_iter)
            counts = torch.empty_like(self.counts, device='cpu', pin_memory=True)
            self.arriving = counts.copy_(self.counts, non_blocking=True), torch.cuda.Event()
            self.arriving[1].record()

    def _check(self, counts: Tensor, losses: Mapping[str, Tensor], current_iter: int) -> None:
        names = [name for name, count in zip(losses, counts.tolist(), strict=True) if count >= self.limit]
        if names:
            raise DivergenceError(
                f'iteration {current_iter}: not a finite number for {self.limit} iterations in a row:'
                f' {", ".join(names)}. {self.remedy}'
            )
