"""Estimate of a training's duration, logged within the first iterations."""

import time

import torch
from basicsr.utils import get_root_logger

STEPS = (2, 10)  # after which it is logged; the first step, which warms up, is not counted
LONG_DAYS = 3.0


class TimeEstimate:
    """Logs the time of a step and the remaining time before BasicSR's first line, which comes after `print_freq` steps.

    Args:
        total_iter: Last iteration of the training.
        device: Device of the training.
    """

    def __init__(self, total_iter: int, device: torch.device) -> None:
        self.total_iter = total_iter
        self.device = device
        self.steps = 0
        self.start = 0.0

    def __call__(self, current_iter: int) -> None:
        """Count a finished step. The device is synchronized in the steps that start and log the measurement only."""
        self.steps += 1
        if self.steps not in (1, *STEPS):
            return
        if self.device.type == 'cuda':
            torch.cuda.synchronize(self.device)
        now = time.perf_counter()
        if self.steps == 1:
            self.start = now
            return
        seconds = (now - self.start) / (self.steps - 1)
        days = seconds * (self.total_iter - current_iter) / 86400
        logger = get_root_logger()
        logger.info(f'Iteration {current_iter}: {seconds:.3g} s per iteration, {_duration(days)} to {self.total_iter}.')
        if self.steps == STEPS[-1] and days > LONG_DAYS:
            logger.warning(
                f'The training would take {_duration(days)}. Set train: precision: bf16 and channels_last: true, a'
                ' smaller network (num_feat, num_block), patch or batch, or use a GPU. Recipe demo trains in minutes.'
            )


def _duration(days: float) -> str:
    hours = 24 * days
    for value, unit in ((days, 'days'), (hours, 'hours')):
        if value >= 1:
            return f'{value:.1f} {unit}'
    return f'{60 * hours:.0f} minutes'
