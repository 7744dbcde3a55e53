"""Stop a training with repeated non-finite losses or gradients, without a device synchronization in each step."""

from collections.abc import Mapping

import torch
from torch import Tensor

from usrdu_basicsr.utils.errors import DivergenceError


class NonFiniteGuard:
    """Counts the consecutive iterations in which each loss or gradient was non-finite.

    The training stops when a count reaches `limit`. On a GPU the counts are copied to the CPU asynchronously. A later
    step checks them once the copy has finished.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.names: list[str] = []
        self.counts: Tensor | None = None
        self.max_counts: Tensor | None = None  # since the start, as counts may return to 0 before they are checked
        self.pending: tuple[Tensor, torch.cuda.Event] | None = None

    def __call__(self, flags: Mapping[str, Tensor], current_iter: int) -> None:
        """Update the counts after a step; a DivergenceError if one has reached the limit.

        `flags` has a boolean scalar tensor for each loss and gradient, which is true if it was non-finite. The names
        are the same in each step.
        """
        nonfinite = torch.stack(list(flags.values()))
        self.names = list(flags)
        self.counts = nonfinite.int() if self.counts is None else (self.counts + 1) * nonfinite
        self.max_counts = self.counts if self.max_counts is None else torch.maximum(self.max_counts, self.counts)
        if not nonfinite.is_cuda:
            self._check(self.max_counts, current_iter)
        elif self.pending is None or self.pending[1].query():
            if self.pending is not None:
                self._check(self.pending[0], current_iter)
            counts = torch.empty_like(self.max_counts, device='cpu', pin_memory=True)
            self.pending = counts.copy_(self.max_counts, non_blocking=True), torch.cuda.Event()
            self.pending[1].record()

    def last_nonfinite(self) -> list[str]:
        """Names of the losses and gradients that were non-finite in the last step. Synchronizes with the device."""
        return [] if self.counts is None else self._names_from(self.counts, 1)

    def _names_from(self, counts: Tensor, minimum: int) -> list[str]:
        return [name for name, count in zip(self.names, counts.tolist(), strict=True) if count >= minimum]

    def _check(self, counts: Tensor, current_iter: int) -> None:
        if names := self._names_from(counts, self.limit):
            raise DivergenceError(
                f'Training stopped after {self.limit} consecutive iterations with non-finite {", ".join(names)}'
                f' (iteration {current_iter}). They did not update the weights, and no checkpoint was saved. Resume'
                ' with --auto_resume, or from an older checkpoint. Lower the learning rate, or set train: grad_clip or'
                ' train: precision: fp32'
            )
