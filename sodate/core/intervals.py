"""Confidence intervals in closed form, and the quantiles that they need."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from statistics import NormalDist

Interval = tuple[float, float]
_TINY = 1e-300  # instead of 0 in a denominator of the continued fraction


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


def difference_ci(failed: float, n: int, before: float, m: int, level: float = 0.95) -> Interval:
    """Interval for failed / n - before / m of two independent groups: Newcombe (1998), method 10, from Wilson's two."""
    (low, high), (low_, high_) = wilson(failed, n, level), wilson(before, m, level)
    one, other = failed / n, before / m
    diff = one - other
    return diff - math.hypot(one - low, high_ - other), diff + math.hypot(high - one, other - low_)


def clopper_pearson(successes: int, n: int, level: float = 0.95) -> Interval:
    """The exact interval for a rate: it holds the truth at least as often as it says, for any n ≥ 1."""
    tail, failures = (1 - level) / 2, n - successes
    low = 0.0 if successes == 0 else beta_quantile(tail, successes, failures + 1)
    high = 1.0 if failures == 0 else beta_quantile(1 - tail, successes + 1, failures)
    return low, high


def beta_cdf(x: float, a: float, b: float) -> float:
    """The share of a beta distribution that lies below x: the regularised incomplete beta function, a and b > 0."""
    if x <= 0 or x >= 1:
        return float(x >= 1)
    if x > (a + 1) / (a + b + 2):  # the fraction converges fast below the mean
        return 1 - beta_cdf(1 - x, b, a)
    front = math.exp(a * math.log(x) + b * math.log1p(-x) + math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b)) / a
    # Lentz's evaluation of the continued fraction 1 / (1 + d1 / (1 + d2 / …)), DLMF 8.17.22.
    c, d = 1.0, 1 / ((1 - (a + b) * x / (a + 1)) or _TINY)
    value = d
    for m in range(1, 500):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        before = value
        for term in (even, odd):
            d = 1 / ((1 + term * d) or _TINY)
            c = (1 + term / c) or _TINY
            value *= c * d
        if abs(value - before) < 1e-15 * abs(value):
            break
    return front * value


def beta_quantile(share: float, a: float, b: float) -> float:
    """Where a beta distribution has this share below it, 0 < share < 1."""
    return _root(lambda x: beta_cdf(x, a, b) - share, 0.0, 1.0)


@functools.lru_cache(1024)
def t_quantile(level: float, freedom: float) -> float:
    """The half-width of the central `level` of Student's t, in standard errors; any `freedom` > 0."""
    # t² / (freedom + t²) has a beta distribution with 1/2 and freedom/2.
    share = _root(lambda x: beta_cdf(x, freedom / 2, 0.5) - (1 - level), 0.0, 1.0)  # of freedom / (freedom + t²)
    return math.sqrt(freedom * (1 - share) / share)


def _root(rising: Callable[[float], float], low: float, high: float) -> float:
    """Where a rising function crosses 0, by halving, to the last digits of a number in [0, 1]."""
    for _ in range(200):
        middle = (low + high) / 2
        if middle in (low, high):
            break
        low, high = (low, middle) if rising(middle) > 0 else (middle, high)
    return (low + high) / 2
