"""How often sodate's intervals hold the truth, and how often a verdict is wrong, by simulation.

    python bench/coverage.py [--seed 0] [--rounds 4000] [--json]

Every case draws held-out items from a population whose true mean difference is known. `covers` is the share of the 95 %
intervals that hold it, `width` their mean width in points; beside it the same of plain Student's t and of the
percentile bootstrap. Then evaluations without any true difference, and with the one that the items are said to show in
four of five.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sodate.core.intervals import paired_proportion_ci, t_quantile
from sodate.evaluate import stats

Floats = NDArray[np.float64]
Draw = Callable[[np.random.Generator, int], tuple[Floats, list[int] | None]]


def continuous(rng: np.random.Generator, n: int) -> Floats:
    """Two scores in [0, 1] an item, a little better after than before."""
    return rng.beta(3, 2, n) - rng.beta(2, 2, n)


def skewed(rng: np.random.Generator, n: int) -> Floats:
    """A quarter gains much, the rest hardly moves."""
    return np.where(rng.random(n) < 0.25, rng.beta(4, 2, n), rng.normal(0, 0.05, n))


def mostly_zero(share: float, up: float) -> Callable[[np.random.Generator, int], Floats]:
    """A share of items moves, of these `up` for the better."""

    def drawn(rng: np.random.Generator, n: int) -> Floats:
        signs = np.where(rng.random(n) < up, 1, -1)
        return np.where(rng.random(n) < share, signs * rng.beta(2, 2, n), 0.0)

    return drawn


def flips(rng: np.random.Generator, n: int) -> Floats:
    """Right or wrong: 15 % fixed, 5 % broken."""
    return rng.choice([1.0, -1.0, 0.0], n, p=[0.15, 0.05, 0.8])


def alone(n: int, drawn: Callable[[np.random.Generator, int], Floats]) -> Draw:
    return lambda rng, rounds: (drawn(rng, n * rounds).reshape(rounds, n), None)


def clustered(count: int, sizes: list[int], mean: float = 0.1) -> Draw:
    """`count` documents of these sizes in turn, half of the variance between them."""
    ids = [k for k in range(count) for _ in range(sizes[k % len(sizes)])]

    def drawn(rng: np.random.Generator, rounds: int) -> tuple[Floats, list[int]]:
        between, within = rng.normal(0, 0.2, (rounds, count)), rng.normal(0, 0.2, (rounds, len(ids)))
        return np.clip(mean + between[:, ids] + within, -1, 1), ids

    return drawn


CASES: dict[str, Draw] = {
    "continuous, n = 20": alone(20, continuous),
    "skewed, n = 20": alone(20, skewed),
    "continuous, n = 100": alone(100, continuous),
    "80 % zero, n = 100": alone(100, mostly_zero(0.2, 0.6)),
    "90 % zero, gains only, n = 100": alone(100, mostly_zero(0.1, 1.0)),
    "92 % zero, n = 100": alone(100, mostly_zero(0.08, 0.8)),
    "75 % zero, n = 20": alone(20, mostly_zero(0.25, 0.7)),
    "10 clusters of 8": clustered(10, [8]),
    "10 clusters of 1 to 20": clustered(10, [1, 3, 5, 8, 20]),
    "30 clusters of 8": clustered(30, [8]),
    "30 clusters of 1 to 20": clustered(30, [1, 3, 5, 8, 20]),
    "binary, n = 20": alone(20, flips),
    "binary, n = 100": alone(100, flips),
}


def interval(row: Floats, ids: list[int] | None, binary: bool) -> tuple[float, float]:
    """What an evaluation says."""
    if binary:
        return paired_proportion_ci(int((row > 0).sum()), int((row < 0).sum()), len(row))
    found = stats.paired_interval(row.tolist(), clusters=ids)
    assert found is not None
    return found


def plain(row: Floats, ids: list[int] | None, rng: np.random.Generator) -> list[tuple[float, float]]:
    """Student's t over units, and the percentile bootstrap."""
    units = np.array(ids if ids is not None else range(len(row)))
    sums, counts = np.bincount(units, row), np.bincount(units)
    n, mean = len(sums), row.mean()
    half = t_quantile(0.95, n - 1) * np.sqrt(((sums - mean * counts) ** 2).sum() * n / (n - 1)) / counts.sum()
    pick = rng.integers(0, n, (1000, n))
    low, high = np.quantile(sums[pick].sum(1) / counts[pick].sum(1), [0.025, 0.975])
    return [(mean - half, mean + half), (float(low), float(high))]


def covered(name: str, rounds: int, seed: int) -> dict[str, Any]:
    rng, draw = np.random.default_rng(seed), CASES[name]
    truth = float(draw(rng, 100_000)[0].mean())
    rows, ids = draw(rng, rounds)
    found = [[interval(row, ids, "binary" in name), *plain(row, ids, rng)] for row in rows]
    ends = np.array(found)  # (rounds, 3 methods, 2)
    covers = ((ends[:, :, 0] <= truth) & (truth <= ends[:, :, 1])).mean(0)
    width = 100 * (ends[:, :, 1] - ends[:, :, 0]).mean(0)
    return {"case": name, "covers": covers.round(3).tolist(), "width": width.round(1).tolist()}


def verdict(row: Floats, ids: list[int] | None, binary: bool, seed: int) -> str:
    """What an evaluation with one grader says of these differences."""
    if binary:
        p = stats.mcnemar_exact(int((row > 0).sum()), int((row < 0).sum()))
    else:
        p = stats.sign_flip_p(row.tolist(), seed=seed, resamples=2000, clusters=ids)
    n = len(set(ids)) if ids else len(row)
    return stats.verdict(float(row.mean()), interval(row, ids, binary), p, n=n)


def decided(name: str, draw: Draw, binary: bool, rounds: int, seed: int) -> dict[str, Any]:
    """How often `rounds` evaluations say better, and worse."""
    rows, ids = draw(np.random.default_rng(seed), rounds)
    said = [verdict(row, ids, binary, number) for number, row in enumerate(rows)]
    return {"case": name, "better": said.count("better") / rounds, "worse": said.count("worse") / rounds}


def shown(n: int) -> Draw:
    """Right or wrong, with the difference that n items are said to show."""
    difference = stats.smallest_difference(n)
    moved = max(0.2, difference)
    odds = [(moved + difference) / 2, (moved - difference) / 2, 1 - moved]
    return alone(n, lambda rng, count: rng.choice([1.0, -1.0, 0.0], count, p=odds))


def without_difference(rng: np.random.Generator, n: int) -> Floats:
    return rng.choice([1.0, -1.0, 0.0], n, p=[0.2, 0.2, 0.6])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rounds", type=int, default=4000)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    coverage = [covered(name, given.rounds, given.seed) for name in CASES]
    rounds = max(1000, given.rounds // 4)
    verdicts = [
        decided("no difference, binary, n = 100", alone(100, without_difference), True, rounds, given.seed),
        decided("no difference, continuous, n = 20", alone(20, lambda rng, n: rng.normal(0, 0.2, n)), False, rounds,
                given.seed),
        decided("no difference, 80 % zero, n = 100", alone(100, mostly_zero(0.2, 0.5)), False, rounds, given.seed),
        decided("no difference, 10 clusters", clustered(10, [1, 3, 5, 8, 20], 0.0), False, rounds, given.seed),
        *(decided(f"{100 * stats.smallest_difference(n):.0f} points better, n = {n} (said: 80 %)", shown(n), True,
                  rounds, given.seed) for n in (20, 40, 100, 400)),
    ]  # fmt: skip
    if given.json:
        print(json.dumps({"coverage": coverage, "verdicts": verdicts}))
        return
    print(f"{'95 % interval':<34}{'covers':>8}{'width':>7}  {'plain t':>14}  {'percentile bootstrap':>22}")
    for row in coverage:
        (a, b, c), (x, y, z) = row["covers"], row["width"]
        print(f"{row['case']:<34}{a:>8.3f}{x:>7.1f}  {b:>8.3f}{y:>6.1f}  {c:>16.3f}{z:>6.1f}")
    print(f"\n{'verdicts of ' + str(rounds) + ' evaluations':<48}{'better':>8}{'worse':>8}")
    for row in verdicts:
        print(f"{row['case']:<48}{row['better']:>8.3f}{row['worse']:>8.3f}")


if __name__ == "__main__":
    main()
