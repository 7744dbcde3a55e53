"""Bad images in training: the check of their size, and the policy to stop or to skip and count them."""

import logging
import random
from collections.abc import Callable
from typing import Literal, TypeVar

import torch

from usrdu_basicsr.storage.source import check_all, find_errors
from usrdu_basicsr.utils.errors import InputError, UserError

Item = TypeVar('Item')
logger = logging.getLogger('basicsr')


def check_patch_fits(image_size: tuple[int, int], size: int, option: str, name: str) -> None:
    """Raise an InputError if the image `name`, `(height, width)`, is smaller than a patch, whose side `option` sets."""
    height, width = image_size
    if min(height, width) < size:
        raise InputError(
            f"image '{name}': got {height}x{width} pixels, expected at least {size}x{size} ({option}). Remove it or"
            ' lower gt_size'
        )


class BadImagePolicy:
    """Record of the bad images of a dataset, in memory that all its data workers share.

    Args:
        count: Number of images.
        on_bad_image: `stop` raises the error of a bad image. `skip` logs it once and uses a random other image.
    """

    def __init__(self, count: int, on_bad_image: Literal['stop', 'skip'] = 'stop') -> None:
        self.skip = on_bad_image == 'skip'
        self._bad = torch.zeros(count, dtype=torch.bool).share_memory_()

    @property
    def bad(self) -> int:
        """Number of bad images that all workers have skipped so far."""
        return int(self._bad.sum())

    def check(self, check: Callable[[int], object]) -> None:
        """Check all images before a run.

        Args:
            check: Function of an index that raises a `UserError` for a bad image.

        Raises:
            UserError: The errors of all bad images in one, unless they are skipped.
            InputError: If all images are bad.
        """
        if not self.skip:
            check_all(len(self._bad), check)
            return
        for index, error in find_errors(len(self._bad), check).items():
            self._mark_bad(index, error)
        self._check_any_good()

    def read(self, index: int, read: Callable[[int], Item]) -> Item:
        """Return `read(index)`. If the image is bad and bad images are skipped, read a random other image."""
        while True:
            # Drawn from all images, so that the draw does not depend on the bad images that other workers have found.
            while self._bad[index]:
                self._check_any_good()
                index = random.randrange(len(self._bad))
            try:
                return read(index)
            except UserError as error:
                if not self.skip:
                    raise
                self._mark_bad(index, error)

    def _mark_bad(self, index: int, error: UserError) -> None:
        self._bad[index] = True
        logger.warning('Skipped bad image (on_bad_image: skip, %d of %d so far): %s', self.bad, len(self._bad), error)

    def _check_any_good(self) -> None:
        if self._bad.all():
            raise InputError(f'all {len(self._bad)} images are bad. See the warnings above')
