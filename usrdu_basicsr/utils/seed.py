"""Seeds of independent random streams."""

import numpy as np


def derive_seed(*numbers: int) -> int:
    """Derive a 32-bit seed from non-negative integers; their order matters.

    CPU generators use only 32 bits of a seed, and sums of the numbers would repeat. `SeedSequence` mixes all bits.
    """
    return int(np.random.SeedSequence(numbers).generate_state(1)[0])
