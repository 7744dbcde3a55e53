"""Intervals by the bootstrap."""

import numpy as np

DRAWS = 2000


def paired_interval(values: np.ndarray, baseline: np.ndarray) -> tuple[float, float, float]:
    """Mean difference of a metric and its 95 % interval by the paired bootstrap over images and seeds.

    Args:
        values: Metric of a method, `(seeds, images)`.
        baseline: That of another method, with as many images.
    """
    rng = np.random.default_rng(0)
    draws = []
    for _ in range(DRAWS):
        image = rng.integers(values.shape[1], size=values.shape[1])
        means = [each[rng.integers(len(each), size=len(each))][:, image].mean() for each in (values, baseline)]
        draws.append(means[0] - means[1])
    low, high = np.quantile(draws, (0.025, 0.975))
    return float(values.mean() - baseline.mean()), float(low), float(high)
