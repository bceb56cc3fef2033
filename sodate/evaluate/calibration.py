"""Confidence that can be relied on: a temperature, how far confidence is from being right, and where to answer.

Pure functions over log-probabilities of options (n, options), which option is right, and the resulting confidences.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sodate.core.intervals import Interval, beta_cdf
from sodate.evaluate.stats import mean_ci

Floats = NDArray[np.float64]
BINS = 10
FOLDS = 5  # parts of the calibration rows; what is said of a part was fitted on the others
TILT = 1e-6
SURE = 0.95  # how often a promise has to hold, over calibrations
PRIORS = (0.1, 0.25, 0.5, 1.0)  # how far log T, and a map's a and b, may lie from what changes nothing
STARTS = (0.25, 0.5, 0.75)  # of the calibration rows: where a search for the threshold begins, if there are enough


def probabilities(logp: Floats, temperature: float = 1.0) -> Floats:
    """(n, options) that sum to 1, from log-probabilities."""
    scaled = np.asarray(logp, dtype=np.float64) / temperature
    scaled = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    found: Floats = scaled / scaled.sum(axis=1, keepdims=True)
    return found


def fit_temperature(logp: Floats, right: Sequence[int] | NDArray[np.int64]) -> float:
    """The temperature T in [1/20, 20] at which the likeliest option is right as often as its probability says: under
    which it is likeliest that it was right and wrong where it was. (Guo et al., 1706.04599, take the likelihood of the
    right option instead, which asks for doubt where the others are in a wrong order, too.) log T is taken to lie near
    0, normal, of that deviation of PRIORS under which the answers are likeliest: few rows that agree change little.

    Rows whose right answer is no option (-1) say nothing about it; 1 where none says anything.
    """
    at = np.flatnonzero(np.asarray(right) >= 0)
    if not len(at):
        return 1.0
    rows = np.asarray(logp, dtype=np.float64)[at]
    hits = rows.argmax(axis=1) == np.asarray(right)[at]
    logs = np.linspace(-3, 3, 241)
    likely = np.empty(len(logs))
    for k, value in enumerate(logs):
        sure = probabilities(rows, math.exp(value)).max(axis=1)
        likely[k] = np.log(np.maximum(np.where(hits, sure, 1 - sure), 1e-12)).sum()

    def evidence(deviation: float) -> tuple[float, float]:
        found = likely - (logs / deviation) ** 2 / 2
        return float(np.logaddexp.reduce(found) - math.log(deviation)), float(logs[found.argmax()])

    return math.exp(max(evidence(deviation) for deviation in PRIORS)[1])


@dataclass(frozen=True, slots=True)
class ConfidenceMap:
    """How often an answer of some confidence is right: knots joined by lines ("isotonic"), or the logistic function of
    a · logit + b with `x` = (a,) and `y` = (b,) ("logistic"); "identity" changes nothing.

    None changes an order: where a map is flat, a trace of the confidence itself (TILT) keeps rows apart, so that what
    is promised from a row on does not hang on which rows the answers made equal.
    """

    kind: str = "identity"
    x: tuple[float, ...] = ()
    y: tuple[float, ...] = ()

    def __call__(self, confidence: Sequence[float]) -> list[float]:
        given = mapped = np.asarray(confidence, dtype=np.float64)
        if self.kind == "isotonic":
            mapped = np.interp(given, self.x, self.y)
        elif self.kind == "logistic":
            mapped = _sigmoid(self.x[0] * _logit(given) + self.y[0])
        found: list[float] = (mapped + TILT * (given - mapped)).tolist()
        return found


def fit_isotonic(confidence: Sequence[float], right: Sequence[bool]) -> ConfidenceMap:
    """The map that never falls and is nearest to the answers: neighbours that would are pooled, and the means of the
    pools joined at their centres (centred isotonic regression, Oron & Flournoy 2017). No end is surer than its rows."""
    order = np.argsort(confidence, kind="stable")
    pools: list[list[float]] = []  # rows, mean confidence, share right
    for at, hit in zip(np.asarray(confidence, float)[order], np.asarray(right, float)[order], strict=True):
        pools.append([1.0, float(at), float(hit)])
        while len(pools) > 1 and (pools[-2][2] >= pools[-1][2] or pools[-2][1] == pools[-1][1]):
            n, x, y = pools.pop()
            m, w, z = pools[-1]
            pools[-1] = [n + m, (n * x + m * w) / (n + m), (n * y + m * z) / (n + m)]
    least = [0.5 / (n + 1) for n, _, _ in pools]
    shares = [min(max(y, low), 1 - low) for (_, _, y), low in zip(pools, least, strict=True)]
    return ConfidenceMap("isotonic", tuple(x for _, x, _ in pools), tuple(np.maximum.accumulate(shares).tolist()))


def fit_logistic(confidence: Sequence[float], right: Sequence[bool]) -> ConfidenceMap:
    """Platt's map of the log-odds (1999), a ≥ 0, where a and b are taken to lie near 1 and 0, which change nothing:
    each normal, of that deviation of PRIORS under which the answers are likeliest (evidence by Laplace's method, MacKay
    1992). Few rows that agree with the confidence leave it as it is; what is far off is moved as far as they say. Right
    counts as (r + 1) / (r + 2) of r right rows, wrong as 1 / (w + 2), so that no few rows make it certain."""
    z, hits = _logit(np.asarray(confidence, dtype=np.float64)), np.asarray(right, dtype=bool)
    y = np.where(hits, (hits.sum() + 1) / (hits.sum() + 2), 1 / ((~hits).sum() + 2))
    a, b = max((_near_identity(z, y, deviation) for deviation in PRIORS), key=lambda fit: fit[0])[1]
    if a <= 0:  # more confidence, fewer right answers: then it says nothing
        return ConfidenceMap("logistic", (0.0,), (float(_logit(y.mean())),))
    return ConfidenceMap("logistic", (a,), (b,))


def _near_identity(z: Floats, y: Floats, deviation: float) -> tuple[float, tuple[float, float]]:
    """The log evidence of a deviation, and the likeliest (a, b) under it, by Newton's method with halved steps: the
    loss is convex, but a full step from 1, where a sure model's curve is flat, leads away."""
    basis, nothing = np.stack([z, np.ones_like(z)], 1), np.array([1.0, 0.0])

    def loss(at: Floats) -> float:
        odds = basis @ at
        return float((np.logaddexp(0, odds) - y * odds).sum() + ((at - nothing) ** 2).sum() / 2 / deviation**2)

    at = nothing
    for _ in range(100):
        p = _sigmoid(basis @ at)
        bend = (basis * (p * (1 - p))[:, None]).T @ basis + np.eye(2) / deviation**2
        step, part = np.linalg.solve(bend, basis.T @ (p - y) + (at - nothing) / deviation**2), 1.0
        while part > 1e-9 and loss(at - part * step) > loss(at):
            part /= 2
        at = at - part * step
        if np.abs(part * step).max() < 1e-10:
            break
    evidence = -loss(at) - np.linalg.slogdet(bend)[1] / 2 - 2 * math.log(deviation)
    return float(evidence), (float(at[0]), float(at[1]))


_FITS: Mapping[str, Callable[[Any, Any], ConfidenceMap]] = {
    "isotonic": fit_isotonic,
    "logistic": fit_logistic,
}


def folds(n: int) -> Iterator[tuple[NDArray[np.bool_], NDArray[np.bool_]]]:
    """For each of FOLDS parts of n rows, which rows are in it, and which are not, to fit on."""
    part = np.arange(n) % FOLDS
    for one in range(min(FOLDS, n)):
        yield part == one, part != one


def fit_map(confidence: Sequence[float], right: Sequence[bool], kinds: Sequence[str]) -> ConfidenceMap:
    """The map of whichever kind is nearest to answers that it was not fitted on: squared errors over FOLDS parts of the
    rows. A later kind is taken where it is better by a standard error; the first where rows are few."""
    sure, hits = np.asarray(confidence, dtype=np.float64), np.asarray(right, dtype=bool)
    if len(sure) < 10 * FOLDS:
        return _FITS[kinds[0]](confidence, right)
    errors = {kind: np.empty(len(sure)) for kind in kinds}
    for own, rest in folds(len(sure)):
        for kind in kinds:
            told = np.array(_FITS[kind](sure[rest], hits[rest])(sure[own].tolist()))
            errors[kind][own] = (told - hits[own]) ** 2
    best = kinds[0]
    for kind in kinds[1:]:
        gain = errors[best] - errors[kind]
        if gain.mean() > gain.std(ddof=1) / math.sqrt(len(gain)):
            best = kind
    return _FITS[best](confidence, right)


def _logit(p: Floats) -> Floats:
    p = np.clip(p, 1e-12, 1 - 1e-12)
    found: Floats = np.log(p) - np.log1p(-p)
    return found


def _sigmoid(z: Floats) -> Floats:
    found: Floats = 1 / (1 + np.exp(-np.clip(z, -700, 700)))
    return found


def brier(table: Floats, right: Sequence[int]) -> list[float]:
    """Of each row half the squared distance of its probabilities (n, options) from the truth: 0 is best, 1 is worst.

    The mean over the rows is the Brier score. A right answer that is no option (-1) has probability 0 everywhere.
    """
    truth = np.zeros_like(table)
    rows = np.flatnonzero(np.asarray(right) >= 0)
    truth[rows, np.asarray(right)[rows]] = 1
    missing = (np.asarray(right) < 0).astype(float)
    found: list[float] = ((((table - truth) ** 2).sum(axis=1) + missing) / 2).tolist()
    return found


def calibration_error(confidence: Sequence[float], right: Sequence[bool] | NDArray[np.bool_]) -> float:
    """The mean distance of confidence from the share that is right, over BINS equally wide groups (ECE)."""
    sure, hits = np.asarray(confidence, dtype=np.float64), np.asarray(right, dtype=np.float64)
    group = np.minimum((sure * BINS).astype(int), BINS - 1)
    return float(np.abs(np.bincount(group, sure) - np.bincount(group, hits)).sum() / len(sure))


def calibration_error_ci(confidence: Sequence[float], right: Sequence[bool], *, seed: int = 0) -> Interval | None:
    """95 % interval of the calibration error, by resampling rows and taking off what resampling itself adds.

    Of a perfectly calibrated model the measured error is above 0; the basic bootstrap mirrors that away.
    """
    n = len(confidence)
    if n < 2:
        return None
    rng = np.random.default_rng(seed)
    sure, hits = np.asarray(confidence), np.asarray(right)
    found = calibration_error(confidence, right)
    drawn = [calibration_error(sure[pick], hits[pick]) for pick in rng.integers(0, n, (1000, n))]
    low, high = np.quantile(drawn, [0.025, 0.975])
    return float(max(0.0, 2 * found - high)), float(max(found, min(1.0, 2 * found - low)))


def calibration_error_by_chance(confidence: Sequence[float], *, seed: int = 0) -> float:
    """The calibration error that these rows would show on average if every confidence were exactly right."""
    sure, rng = np.asarray(confidence, dtype=np.float64), np.random.default_rng(seed)
    drawn = [calibration_error(confidence, rng.random(len(sure)) < sure) for _ in range(200)]
    return float(np.mean(drawn))


def brier_ci(table: Floats, right: Sequence[int]) -> Interval | None:
    """95 % interval of the Brier score."""
    return mean_ci(np.clip(brier(table, right), 0.0, 1.0).tolist())


def rows_needed(promise: float, sure: float = SURE) -> int:
    """How many rows, all answered right, it takes to promise that at least `promise` are: 59 for 95 %."""
    return math.ceil(math.log(1 - sure) / math.log(promise))


def threshold(confidence: Sequence[float], right: Sequence[bool], promise: float, sure: float = SURE) -> float | None:
    """The least confidence from which on at least `promise` of the answers are right; None where none can be promised.

    With probability `sure` over the calibration rows this holds for rows to come, whatever the model, provided that
    more confidence does not mean more errors. Which row is surer than which must not come from these answers.

    Rows are gone through from the most confident one down. At each the exact (Clopper–Pearson) bound of the errors so
    far is held against what may be wrong; the first that does not pass ends the search, so that looking many times
    costs nothing (fixed-sequence testing, as in 2110.01052). Where rows allow it the search begins at three depths, and
    each has a third of what may go wrong.
    """
    n, risk = len(confidence), 1 - sure
    begin = rows_needed(promise, sure)
    starts = [begin]
    shared = [int(share * n) for share in STARTS]
    if shared[0] >= rows_needed(promise, 1 - risk / len(STARTS)):
        starts, risk = shared, risk / len(STARTS)
    order = np.argsort(confidence, kind="stable")[::-1]
    ranked = np.asarray(confidence, dtype=np.float64)[order]
    wrong = np.cumsum(~np.asarray(right, dtype=bool)[order])
    # Rows of equal confidence are answered together: only the last of them is a place to stop.
    ends = [k for k in range(1, n + 1) if k == n or ranked[k] < ranked[k - 1]]
    allowed = _allowed(n, 1 - promise, risk)
    best: float | None = None
    for start in starts:
        for k in (k for k in ends if k >= start):
            if wrong[k - 1] > allowed[k]:
                break
            best = ranked[k - 1] if best is None else min(best, float(ranked[k - 1]))
    return None if best is None else float(best)


@functools.lru_cache(8)
def _allowed(n: int, share: float, risk: float) -> list[int]:
    """Of k = 0 … n rows how many may be wrong for the exact bound of their rate, at `risk`, to be at most `share`."""
    allowed, errors = [], -1
    for k in range(n + 1):
        while errors + 1 < k and beta_cdf(share, errors + 2, k - errors - 1) >= 1 - risk:
            errors += 1
        allowed.append(errors)
    return allowed


def risk_coverage(confidence: Sequence[float], right: Sequence[bool], points: int = 20) -> list[tuple[float, float]]:
    """(share answered, share of these that is wrong), from the most confident rows on."""
    order = np.argsort(confidence, kind="stable")[::-1]
    wrong = np.cumsum(~np.asarray(right, dtype=bool)[order])
    n = len(order)
    ks = sorted({max(1, round(n * p / points)) for p in range(1, points + 1)})
    return [(k / n, float(wrong[k - 1] / k)) for k in ks]
