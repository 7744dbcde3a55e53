"""Keep the last checkpoints of a training and its best, and remove the others."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from pathlib import Path


def remove_old_checkpoints(
    models: Path, states: Path, current: int, keep: int, best: Callable[[Iterable[int]], int | None]
) -> None:
    """Remove all but the last `keep` checkpoints and the best: their states, and `net_*_ITERATION.pth`.

    Args:
        models: Folder of the networks; `net_*_latest.pth` stay.
        states: Folder of the states.
        current: The iteration that has just been saved; what is of later ones, of another training, stays.
        keep: How many of the last to keep, at least 1.
        best: Which of some iterations is the best, if that is known.
    """
    iterations = sorted(int(path.stem) for path in states.glob('*.state') if path.stem.isdigit())
    with_state = [iteration for iteration in iterations if iteration <= current]
    kept = {*with_state[-keep:], best(with_state)}
    for iteration in with_state:
        if iteration not in kept:  # the state first, so that none lacks its networks
            (states / f'{iteration}.state').unlink(missing_ok=True)
    for path in models.glob('net_*.pth'):
        match = re.fullmatch(r'net_.+_(\d+)', path.stem)
        if match and int(match[1]) <= current and int(match[1]) not in kept:
            path.unlink(missing_ok=True)
