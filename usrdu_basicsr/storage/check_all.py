"""Look at every image of a set before it is used."""

from __future__ import annotations

from collections.abc import Callable

from usrdu_basicsr.utils.errors import UserError


def find_errors(count: int, check: Callable[[int], object]) -> dict[int, UserError]:
    """What `check` raises, by the index that it is called with, from 0 to `count` - 1."""
    errors = {}
    for index in range(count):
        try:
            check(index)
        except UserError as error:
            errors[index] = error
    return errors


def check_all(count: int, check: Callable[[int], object]) -> None:
    """Call `check` with each index.

    Raises:
        UserError: The first that `check` raises, with the number of others.
    """
    errors = list(find_errors(count, check).values())
    if errors:
        others = f' ({len(errors) - 1} more cannot be used either)' if len(errors) > 1 else ''
        raise type(errors[0])(f'{errors[0]}{others}') from errors[0]
