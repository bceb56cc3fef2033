"""What people's votes say: how far raters agree, which version they prefer, and how surely. Pure functions.

A vote of a rater on a unit is a value or None; `votes` (raters, units) holds them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import combinations

import numpy as np

from sodate.core.intervals import Interval

Votes = Sequence[Sequence[str | None]]
RESAMPLES = 1000


def cohen_kappa(first: Sequence[str | None], second: Sequence[str | None]) -> float | None:
    """Agreement of two raters beyond chance, on the units that both rated; None without any.

    (observed - expected) / (1 - expected), expected from each one's own shares. 1 where both always say the same.
    """
    pairs = [(a, b) for a, b in zip(first, second, strict=True) if a is not None and b is not None]
    if not pairs:
        return None
    n = len(pairs)
    observed = sum(a == b for a, b in pairs) / n
    values = {value for pair in pairs for value in pair}
    expected = sum(sum(a == v for a, _ in pairs) * sum(b == v for _, b in pairs) for v in values) / n**2
    return 1.0 if expected == 1 else (observed - expected) / (1 - expected)


def krippendorff_alpha(votes: Votes) -> float | None:
    """Krippendorff's α for nominal values, any number of raters, votes missing; None where no unit has two votes.

    1 - observed / expected disagreement, by pairs within units and over all of them.
    """
    units = [[row[u] for row in votes if row[u] is not None] for u in range(len(votes[0]) if votes else 0)]
    units = [unit for unit in units if len(unit) > 1]
    if not units:
        return None
    total = sum(map(len, units))
    counts: dict[str | None, int] = {}
    apart = 0.0
    for unit in units:
        for value in unit:
            counts[value] = counts.get(value, 0) + 1
        alike = sum(unit.count(v) * (unit.count(v) - 1) for v in set(unit))
        apart += (len(unit) * (len(unit) - 1) - alike) / (len(unit) - 1)
    expected = (total**2 - sum(c * c for c in counts.values())) / (total - 1)
    return 1.0 if expected == 0 else 1 - apart / expected


def kappa_of_two(votes: Votes) -> float | None:
    """Cohen's κ of two raters' votes."""
    return cohen_kappa(votes[0], votes[1])


def over_units(
    figure: Callable[[Votes], float | None], votes: Votes, *, groups: Sequence[int] | None = None, seed: int = 0,
    resamples: int = RESAMPLES,
) -> Interval | None:  # fmt: skip
    """95 % percentile interval of a figure by drawing units; None for fewer than two units or where it has no value.

    `groups` has a number for each unit: units of one are drawn together, as those of one row that was put in order are.
    """
    together = _together(groups, len(votes[0]) if votes else 0)
    if len(together) < 2:
        return None
    rng = np.random.default_rng(seed)
    found = []
    for pick in rng.integers(0, len(together), (resamples, len(together))).tolist():
        value = figure([[row[u] for group in pick for u in together[group]] for row in votes])
        if value is not None:
            found.append(value)
    return (float(np.quantile(found, 0.025)), float(np.quantile(found, 0.975))) if found else None


def _together(groups: Sequence[int] | None, count: int) -> list[list[int]]:
    """Numbers of units by group, or each alone."""
    if groups is None:
        return [[unit] for unit in range(count)]
    found: dict[int, list[int]] = {}
    for unit, group in enumerate(groups):
        found.setdefault(group, []).append(unit)
    return list(found.values())


def at_odds(names: Sequence[str], votes: Votes, least: int = 10) -> list[str]:
    """Raters whose agreement with each of the others is no better than chance: κ ≤ 0, on `least` shared units or more,
    while there are others who do agree. With two raters nobody knows which."""
    kappas: dict[str, list[float]] = {name: [] for name in names}
    for i, j in combinations(range(len(names)), 2):
        shared = sum(a is not None and b is not None for a, b in zip(votes[i], votes[j], strict=True))
        kappa = cohen_kappa(votes[i], votes[j])
        if kappa is not None and shared >= least:
            kappas[names[i]].append(kappa)
            kappas[names[j]].append(kappa)
    alone = [name for name, found in kappas.items() if len(found) > 1 and max(found) <= 0]
    return alone if any(max(found, default=0) > 0 for found in kappas.values()) else []


def bradley_terry(wins: Mapping[tuple[str, str], float]) -> dict[str, float]:
    """The strength of each version, log scale, mean 0, from how often (winner, loser) came; a tie is half for each.

    Hunter's MM iteration (2004). Half a win each way is added to every pair that met, so that one who always won has a
    strength and not infinity.
    """
    names = sorted({name for pair in wins for name in pair})
    met = {tuple(sorted(pair)) for pair in wins}
    full = {(a, b): wins.get((a, b), 0.0) + 0.5 for pair in met for a, b in (pair, pair[::-1])}
    strength = dict.fromkeys(names, 1.0)
    for _ in range(10_000):
        new = {}
        for name in names:
            won = sum(count for (winner, _), count in full.items() if winner == name)
            games = [(b if a == name else a, full[a, b] + full[b, a]) for a, b in met if name in (a, b)]
            new[name] = won / sum(count / (strength[name] + strength[other]) for other, count in games)
        mean = math.exp(sum(map(math.log, new.values())) / len(new))
        new = {name: value / mean for name, value in new.items()}
        moved = max(abs(math.log(new[name] / strength[name])) for name in names)
        strength = new
        if moved < 1e-10:
            break
    return {name: math.log(value) for name, value in strength.items()}


def bradley_terry_ci(
    games: Sequence[tuple[str, str, float]], *, groups: Sequence[int] | None = None, seed: int = 0, resamples: int = 200
) -> dict[str, Interval]:
    """95 % percentile intervals of the strengths by drawing games (first, second, what the first won: 1, 0.5 or 0),
    those of one of the `groups` together."""
    together = _together(groups, len(games))
    rng = np.random.default_rng(seed)
    drawn: dict[str, list[float]] = {}
    for pick in rng.integers(0, len(together), (resamples, len(together))).tolist():
        for name, value in bradley_terry(won([games[i] for group in pick for i in together[group]])).items():
            drawn.setdefault(name, []).append(value)
    return {name: (float(np.quantile(v, 0.025)), float(np.quantile(v, 0.975))) for name, v in drawn.items()}


def won(games: Sequence[tuple[str, str, float]]) -> dict[tuple[str, str], float]:
    """How often each of a pair won, from games."""
    counts: dict[tuple[str, str], float] = {}
    for first, second, share in games:
        counts[first, second] = counts.get((first, second), 0.0) + share
        counts[second, first] = counts.get((second, first), 0.0) + 1 - share
    return counts
