"""Confidence intervals in closed form."""

from __future__ import annotations

import math
from statistics import NormalDist

Interval = tuple[float, float]


def normal_quantile(level: float) -> float:
    return NormalDist().inv_cdf(0.5 + level / 2)


def wilson(successes: float, n: int, level: float = 0.95) -> Interval:
    """Wilson's score interval for a rate. n ≥ 1."""
    z = normal_quantile(level)
    rate, scale = successes / n, 1 + z * z / n
    centre = (rate + z * z / (2 * n)) / scale
    half = z / scale * math.sqrt(rate * (1 - rate) / n + z * z / (4 * n * n))
    # At 0 and n successes one end is 0 or 1 exactly; rounding must not take it past.
    return (0.0 if successes == 0 else centre - half, 1.0 if successes == n else centre + half)


def paired_proportion_ci(fixed: float, broken: float, n: int, level: float = 0.95) -> Interval:
    """Interval for (fixed - broken) / n: Agresti & Min (2005), half an item added to each of the four cells.

    Never of zero width: without any flip it is ± z / (n + 2).
    """
    z, size, up, down = normal_quantile(level), n + 2, fixed + 0.5, broken + 0.5
    centre = (up - down) / size
    half = z * math.sqrt(up + down - (up - down) ** 2 / size) / size
    return max(-1.0, centre - half), min(1.0, centre + half)
