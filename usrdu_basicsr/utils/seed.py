"""Seeds of independent random streams."""

from __future__ import annotations

import numpy as np


def derive_seed(*numbers: int) -> int:
    """A seed that depends on some whole numbers from 0 on, in their order.

    CPU generators use 32 bits of a seed: the numbers are mixed into those instead of added, which would repeat streams.
    """
    return int(np.random.SeedSequence(numbers).generate_state(1)[0])
