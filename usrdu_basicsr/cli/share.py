"""Share work between processes that torchrun started."""

from __future__ import annotations

import os


def torchrun_share() -> tuple[int, int]:
    """This process's rank and how many there are; (0, 1) where torchrun did not start it."""
    if 'TORCHELASTIC_RUN_ID' not in os.environ:  # a scheduler may set the others for purposes of its own
        return 0, 1
    return int(os.environ.get('RANK', 0)), int(os.environ.get('WORLD_SIZE', 1))


def exit_status(failed: bool, share: tuple[int, int]) -> int:
    """That of a script: 1 if files of its share failed, but 0 among several, which torchrun would stop for it."""
    return 1 if failed and share[1] == 1 else 0
