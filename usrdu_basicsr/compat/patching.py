"""Apply patches, and report which of them are active and why.

A patch is a function that applies itself where it is needed and returns whether it did. Its docstring contains the
sentences `Without it, …` (what breaks) and `Needed if …` (how the need is detected).
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

Patch = Callable[[], bool]
_active: set[Patch] = set()


@dataclass(frozen=True)
class PatchState:
    """Name of a patch, whether it is active in this process, and the reason as one sentence."""

    name: str
    active: bool
    reason: str


def apply_patches(patches: Iterable[Patch]) -> None:
    """Apply patches in order; one that is active already finds no need and stays active."""
    _active.update({patch for patch in patches if patch()})


def patch_states(patches: Iterable[Patch]) -> Iterator[PatchState]:
    """State of each patch, with the reason from its docstring."""
    for patch in patches:
        active, text = patch in _active, ' '.join((patch.__doc__ or '').split())
        before, found, needed = text.partition(' Needed if ')
        reason = before[before.find('Without it, ') :] if active else f'Needed if {needed.partition(". ")[0]}.'
        yield PatchState(patch.__name__.lstrip('_'), active, reason if found else '')
