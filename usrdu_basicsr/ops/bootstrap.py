"""Intervals by the bootstrap."""

from collections.abc import Sequence

import numpy as np

DRAWS = 2000
LEAST_IMAGES = 5  # for an interval; that of a single image has no width
Interval = tuple[float, float, float]


def paired_interval(values: np.ndarray, baseline: np.ndarray) -> Interval:
    """Mean difference of a metric and its 95 % interval by the paired bootstrap over images and seeds.

    Args:
        values: Metric of a method, `(seeds, images)`.
        baseline: That of another method, with as many images.
    """
    return mean_interval([(values, baseline)])


def mean_interval(pairs: Sequence[tuple[np.ndarray, np.ndarray]]) -> Interval:
    """Mean over several data sets of the difference that `paired_interval` has for each, and its 95 % interval.

    Data sets with as many images are resampled alike, as those of the same scenes should be.
    """
    draws = np.mean([_differences(*pair) for pair in pairs], axis=0)
    low, high = np.quantile(draws, (0.025, 0.975))
    return float(np.mean([values.mean() - baseline.mean() for values, baseline in pairs])), float(low), float(high)


def _differences(values: np.ndarray, baseline: np.ndarray) -> np.ndarray:
    """Differences of the means of resampled images and seeds, `(DRAWS,)`."""
    rng = np.random.default_rng(0)
    draws = np.empty(DRAWS)
    for number in range(DRAWS):
        image = rng.integers(values.shape[1], size=values.shape[1])
        means = [each[rng.integers(len(each), size=len(each))][:, image].mean() for each in (values, baseline)]
        draws[number] = means[0] - means[1]
    return draws
