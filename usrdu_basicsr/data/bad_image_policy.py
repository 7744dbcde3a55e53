"""Images that turn out to be bad: the run stops, or goes on without them and counts them."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable
from typing import TypeVar

import torch

from usrdu_basicsr.storage.check_all import check_all, find_errors
from usrdu_basicsr.utils.errors import InputError, UserError

POLICIES = ('stop', 'skip')
Item = TypeVar('Item')
logger = logging.getLogger('basicsr')


class BadImagePolicy:
    """The images of a dataset, without those that could not be used; all its processes share what they find.

    Args:
        count: How many images there are.
        on_bad_image: `stop`: what is wrong with an image is raised. `skip`: it is logged, once an image, and another
            image, drawn at random, takes its place.
    """

    def __init__(self, count: int, on_bad_image: str = 'stop') -> None:
        if on_bad_image not in POLICIES:
            raise InputError(f'on_bad_image is {on_bad_image!r}, expected {" or ".join(POLICIES)}')
        self.skip = on_bad_image == 'skip'
        self._bad = torch.zeros(count, dtype=torch.bool).share_memory_()

    @property
    def bad(self) -> int:
        """How many were left out so far, by all workers."""
        return int(self._bad.sum())

    def check(self, check: Callable[[int], object]) -> None:
        """Look at all images before a run.

        Args:
            check: Called with each index; raises a `UserError` if the image cannot be used.

        Raises:
            UserError: The first one's, with the number of others, unless they are to be skipped.
            InputError: None is left.
        """
        if not self.skip:
            check_all(len(self._bad), check)
            return
        for index, error in find_errors(len(self._bad), check).items():
            self._leave_out(index, error)
        self._check_left()

    def read(self, index: int, read: Callable[[int], Item]) -> Item:
        """`read(index)`; where that raises a `UserError` and bad images are to be skipped, that of another index."""
        while True:
            # Drawn from all, so that which one it is does not depend on what other workers have found so far.
            while self._bad[index]:
                self._check_left()
                index = random.randrange(len(self._bad))
            try:
                return read(index)
            except UserError as error:
                if not self.skip:
                    raise
                self._leave_out(index, error)

    def _leave_out(self, index: int, error: UserError) -> None:
        self._bad[index] = True
        logger.warning('%s; left out, as on_bad_image says, %d of %d so far', error, self.bad, len(self._bad))

    def _check_left(self) -> None:
        if self._bad.all():
            raise InputError(f'all {len(self._bad)} images are bad: see the warnings above')
