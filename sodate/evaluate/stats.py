"""Paired statistics as pure functions: what a difference on n held-out items can and cannot show."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from statistics import NormalDist
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from sodate.core.intervals import Interval, beta_quantile, normal_quantile, t_quantile, wilson

Floats = NDArray[np.float64]
Verdict = Literal["better", "worse", "equivalent", "inconclusive"]

MARGIN = 0.03  # differences within ±3 points are small enough to call two models equivalent
EXACT_SIGN_FLIPS = 16  # up to so many non-zero units, all 2^16 sign patterns are counted
_BLOCK = 1_000_000  # random numbers drawn at a time: bounds the memory, not the result


def mcnemar_exact(fixed: int, broken: int) -> float:
    """Two-sided exact McNemar p: how likely flips this lopsided are if each went either way with chance 1/2."""
    n, fewer = fixed + broken, min(fixed, broken)
    if 2 * fewer == n:
        return 1.0
    term = total = 1
    for i in range(1, fewer + 1):
        term = term * (n - i + 1) // i
        total += term
    return 2 * total / (1 << n)


def _units(values: Sequence[float], clusters: Sequence[Hashable] | None) -> tuple[Floats, Floats]:
    """(sums, counts) per independent unit: per cluster, or per value when there are none."""
    data = np.asarray(values, dtype=np.float64)
    if clusters is None:
        return data, np.ones(len(data))
    order: dict[Hashable, int] = {}
    index = np.array([order.setdefault(cluster, len(order)) for cluster in clusters], dtype=np.intp)
    if len(index) != len(data):
        raise ValueError("one cluster id a value")
    return np.bincount(index, data).astype(np.float64), np.bincount(index).astype(np.float64)


def _reach(sums: Floats, counts: Floats, level: float, mirrored: bool) -> Interval:
    """Interval for the mean over all values, from the (sums, counts) of two units or more that are not all the same.

    Student's t over units, with half a unit more at either end of what was seen, as Agresti and Min add half an item to
    each cell: few units show neither the ends nor the spread of what there is. With `mirrored` the ends lie at least
    half as far on the other side of 0: where improvements were seen, a harm may not have been met yet. Units of very
    different size count as fewer, as many as equal ones would be, (Σ size)² / Σ size². bench/coverage.py says how often
    this holds the truth.
    """
    means, size = sums / counts, counts.mean()
    low, high = float(means.min()), float(means.max())
    if mirrored:
        low, high = min(low, -high / 2), max(high, -low / 2)
    total = counts.sum() + size
    mean = (sums.sum() + size * (low + high) / 2) / total
    spread = ((sums - mean * counts) ** 2).sum() + size**2 / 2 * ((low - mean) ** 2 + (high - mean) ** 2)
    n = len(sums)
    error = math.sqrt(spread * (n + 1) / n) / total
    half = t_quantile(level, max(1.0, counts.sum() ** 2 / (counts**2).sum() - 1)) * error
    return float(mean - half), float(mean + half)


def _interval(
    values: Sequence[float], bottom: float, level: float, clusters: Sequence[Hashable] | None
) -> Interval | None:
    """Interval of the mean of values in [bottom, 1]; None for fewer than two units.

    When every unit is the same there is no spread to go by. Then the ends are what an unseen part of the population
    could still do: the greatest share that n draws miss altogether with chance (1 - level) / 2.
    """
    sums, counts = _units(values, clusters)
    if len(sums) < 2:
        return None
    means = sums / counts
    if np.ptp(means) < 1e-12:
        unseen, value = 1 - ((1 - level) / 2) ** (1 / len(sums)), float(means[0])
        return value - unseen * (value - bottom), value + unseen * (1 - value)
    low, high = _reach(sums, counts, level, mirrored=bottom < 0)
    return max(bottom, low), min(1.0, high)


def paired_interval(
    diffs: Sequence[float], *, level: float = 0.95, clusters: Sequence[Hashable] | None = None
) -> Interval | None:
    """Interval for the mean of paired differences in [-1, 1]; None for fewer than two.

    With `clusters` (one id a difference) a whole cluster is one unit: items of one document are not independent.
    """
    return _interval(diffs, -1.0, level, clusters)


def sign_flip_p(
    diffs: Sequence[float], *, seed: int, resamples: int = 10_000, clusters: Sequence[Hashable] | None = None
) -> float:
    """Two-sided permutation p: how often random signs give a mean at least this far from 0.

    Exact for up to EXACT_SIGN_FLIPS non-zero units, else from seeded draws with the +1 that keeps p above 0.
    On differences of -1, 0 and 1 it is exact McNemar.
    """
    sums, _ = _units(diffs, clusters)
    units = sums[np.abs(sums) > 1e-12]
    reach = abs(float(units.sum())) - 1e-9
    if reach <= 0:
        return 1.0
    if len(units) <= EXACT_SIGN_FLIPS:
        totals = np.zeros(1)
        for unit in units:
            totals = np.concatenate([totals + unit, totals - unit])
        return float(np.mean(np.abs(totals) >= reach))
    rng = np.random.default_rng(seed)
    hits, step = 0, max(1, _BLOCK // len(units))
    for start in range(0, resamples, step):
        signs = rng.integers(0, 2, size=(min(step, resamples - start), len(units)), dtype=np.int8) * 2 - 1
        hits += int((np.abs(signs @ units) >= reach).sum())
    return (hits + 1) / (resamples + 1)


def mean_ci(
    scores: Sequence[float], *, level: float = 0.95, clusters: Sequence[Hashable] | None = None
) -> Interval | None:
    """Interval for the mean of scores in [0, 1]: Wilson if all are 0 or 1, else t by units; None for fewer than two."""
    if len(scores) < 2:
        return None
    if clusters is None and is_binary(scores):
        return wilson(sum(score == 1 for score in scores), len(scores), level)
    return _interval(scores, 0.0, level, clusters)


def is_binary(scores: Sequence[float]) -> bool:
    return all(score in (0, 1) for score in scores)


def holm(ps: Sequence[float]) -> list[float]:
    """Holm's step-down adjusted p-values, in the order given."""
    adjusted, highest = [0.0] * len(ps), 0.0
    for rank, i in enumerate(sorted(range(len(ps)), key=lambda i: ps[i])):
        highest = max(highest, min(1.0, (len(ps) - rank) * ps[i]))
        adjusted[i] = highest
    return adjusted


def smallest_difference(n: int, discordant: float = 0.2, power: float = 0.8, alpha: float = 0.05) -> float:
    """The smallest true paired difference that n items show with `power`, when a share `discordant` of items flips.

    Where it would be more than flips at all, more have to flip, and all one way: the share at which n items hold enough
    flips for a p below alpha. 1 where even n flips are too few.
    """
    normal = NormalDist()
    found = (normal.inv_cdf(1 - alpha / 2) + normal.inv_cdf(power)) * math.sqrt(discordant / n)
    if found <= discordant:
        return found
    flips = math.ceil(1 - math.log2(alpha))  # 2 / 2^flips < alpha
    return beta_quantile(power, flips, n - flips + 1) if flips <= n else 1.0


def shown_by(ci: Interval | None, power: float = 0.8) -> float | None:
    """The smallest true difference that data with an interval as wide as this one show with `power`."""
    z = normal_quantile(0.95)
    return None if ci is None else min(1.0, (ci[1] - ci[0]) / 2 * (z + NormalDist().inv_cdf(power)) / z)


def verdict(diff: float, ci: Interval | None, p: float, margin: float = MARGIN, *, n: int) -> Verdict:
    """What the numbers allow one to say; `n` is the number of independent items, `p` already adjusted.

    better / worse: the interval excludes 0 and p < 0.05. equivalent: the whole interval lies within ±margin, and n is
    so large that items without a single flip would have shown it (z / (n + 2) ≤ margin: 64 items for 3 points).
    Everything else is inconclusive, which is not a pass. A real but tiny difference is called better, not equivalent.
    """
    if ci is None:
        return "inconclusive"
    if p < 0.05 and (ci[0] > 0 or ci[1] < 0):
        return "better" if diff > 0 else "worse"
    if -margin <= ci[0] and ci[1] <= margin and normal_quantile(0.95) / (n + 2) <= margin:
        return "equivalent"
    return "inconclusive"
