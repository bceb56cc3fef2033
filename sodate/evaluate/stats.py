"""Paired statistics as pure functions: what a difference on n held-out items can and cannot show."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from statistics import NormalDist
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from sodate.core.intervals import Interval, normal_quantile, wilson

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


def _bootstrap(
    values: Sequence[float],
    low: float,
    *,
    seed: int,
    level: float,
    resamples: int,
    clusters: Sequence[Hashable] | None,
) -> Interval | None:
    """Percentile interval of the mean of values in [low, 1]; None for fewer than two units.

    When every unit is the same, resampling would give zero width. Then the ends are what an unseen part of the
    population could still do: the greatest share that n draws miss altogether with chance (1 - level) / 2.
    """
    sums, counts = _units(values, clusters)
    n = len(sums)
    if n < 2:
        return None
    means = sums / counts
    if np.ptp(means) < 1e-12:
        unseen, value = 1 - ((1 - level) / 2) ** (1 / n), float(means[0])
        return value - unseen * (value - low), value + unseen * (1 - value)
    rng = np.random.default_rng(seed)
    drawn: list[Floats] = []
    step = max(1, _BLOCK // n)
    for start in range(0, resamples, step):
        pick = rng.integers(0, n, size=(min(step, resamples - start), n))
        drawn.append(sums[pick].sum(axis=1) / counts[pick].sum(axis=1))
    lower, upper = np.quantile(np.concatenate(drawn), [(1 - level) / 2, (1 + level) / 2])
    return float(lower), float(upper)


def paired_bootstrap(
    diffs: Sequence[float],
    *,
    seed: int,
    level: float = 0.95,
    resamples: int = 10_000,
    clusters: Sequence[Hashable] | None = None,
) -> Interval | None:
    """Percentile bootstrap interval for the mean of paired differences in [-1, 1]; None for fewer than two.

    With `clusters` (one id a difference) whole clusters are drawn: items of one document are not independent.
    """
    return _bootstrap(diffs, -1.0, seed=seed, level=level, resamples=resamples, clusters=clusters)


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
    scores: Sequence[float],
    *,
    seed: int = 0,
    level: float = 0.95,
    clusters: Sequence[Hashable] | None = None,
) -> Interval | None:
    """Interval for the mean of scores in [0, 1]: Wilson if all are 0 or 1, else bootstrap; None for fewer than two."""
    if len(scores) < 2:
        return None
    if clusters is None and is_binary(scores):
        return wilson(sum(score == 1 for score in scores), len(scores), level)
    return _bootstrap(scores, 0.0, seed=seed, level=level, resamples=10_000, clusters=clusters)


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
    """The smallest true paired difference that n items show with `power`, when a share `discordant` of items flips."""
    normal = NormalDist()
    return (normal.inv_cdf(1 - alpha / 2) + normal.inv_cdf(power)) * math.sqrt(discordant / n)


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
