"""Agreement and preferences of people, against published and hand-worked numbers."""

from __future__ import annotations

import math

import numpy as np
import pytest

from sodate.evaluate.agreement import (
    at_odds,
    bradley_terry,
    bradley_terry_ci,
    cohen_kappa,
    krippendorff_alpha,
    over_units,
    won,
)


def test_kappa_worked_by_hand() -> None:
    # 20 both yes, 15 both no, 5 and 10 apart: observed .7, expected .25 * … = .5, κ = .4.
    first = ["y"] * 25 + ["n"] * 25
    second = ["y"] * 20 + ["n"] * 5 + ["y"] * 10 + ["n"] * 15
    assert cohen_kappa(first, second) == pytest.approx(0.4)
    assert cohen_kappa(["y", None], [None, "y"]) is None
    assert cohen_kappa(["y", "y"], ["y", "y"]) == 1.0


def test_alpha_is_that_of_krippendorffs_own_example() -> None:
    # Computing Krippendorff's Alpha-Reliability (2011), section C: nominal, four observers, missing data: 0.743.
    rows = [
        "1 2 3 3 2 1 4 1 2 * * *",
        "1 2 3 3 2 2 4 1 2 5 * 3",
        "* 3 3 3 2 3 4 2 2 5 1 *",
        "1 2 3 3 2 4 4 1 2 5 1 *",
    ]
    votes = [[None if v == "*" else v for v in row.split()] for row in rows]
    assert krippendorff_alpha(votes) == pytest.approx(0.743, abs=5e-4)
    assert krippendorff_alpha([["a", "a"], ["a", "a"]]) == 1.0
    assert krippendorff_alpha([["a", None], [None, "b"]]) is None
    low, high = over_units(krippendorff_alpha, votes)
    assert low < 0.743 < high <= 1


def test_a_rater_at_odds_with_all_others_is_named() -> None:
    rng = np.random.default_rng(0)
    truth = [str(v) for v in rng.integers(0, 2, 40)]
    flip = {"0": "1", "1": "0"}
    near = [flip[t] if rng.random() < 0.1 else t for t in truth]
    odd = [flip[t] for t in truth]
    assert at_odds(["a", "b", "c"], [truth, near, odd]) == ["c"]
    assert at_odds(["a", "c"], [truth, odd]) == []  # of two, nobody knows which
    assert at_odds(["a", "b", "c"], [truth[:5], near[:5], odd[:5]]) == []  # five shared units say nothing


def test_bradley_terry_solves_its_equations() -> None:
    # Of two the strengths are the odds: (30 + ½) to (10 + ½), half of the logarithm to each side of 0.
    two = bradley_terry({("a", "b"): 30, ("b", "a"): 10})
    assert two["a"] - two["b"] == pytest.approx(math.log(30.5 / 10.5)) and two["a"] == pytest.approx(-two["b"])
    wins = {("a", "b"): 12.0, ("b", "a"): 4.5, ("b", "c"): 9.0, ("c", "b"): 7.0, ("a", "c"): 11.0, ("c", "a"): 2.0}
    found = bradley_terry(wins)
    for name in "abc":  # at the maximum each has won as often as its strength says
        won_by = sum(count + 0.5 for (winner, _), count in wins.items() if winner == name)
        expected = 0.0
        for other in set("abc") - {name}:
            games = wins[name, other] + wins[other, name] + 1
            expected += games / (1 + math.exp(found[other] - found[name]))
        assert won_by == pytest.approx(expected, abs=1e-6)
    assert found["a"] > found["b"] > found["c"] and sum(found.values()) == pytest.approx(0)


def test_the_interval_of_a_strength_holds_the_one_that_was_put_in() -> None:
    rng = np.random.default_rng(1)
    true = {"a": 0.8, "b": 0.0, "c": -0.8}
    games = []
    for first, second in (("a", "b"), ("b", "c"), ("a", "c")):
        chance = 1 / (1 + math.exp(true[second] - true[first]))
        games += [(first, second, float(rng.random() < chance)) for _ in range(60)]
    intervals = bradley_terry_ci(games)
    assert all(intervals[name][0] < value < intervals[name][1] for name, value in true.items())
    assert won([("a", "b", 0.5)]) == {("a", "b"): 0.5, ("b", "a"): 0.5}


def test_units_of_one_group_are_drawn_together() -> None:
    # Ten rows of three duels each that always agree within a row: as ten units, not thirty.
    rng = np.random.default_rng(5)
    rows = rng.integers(0, 2, 10)
    votes = [["A"] * 30, [("A", "B")[v] for v in rows for _ in range(3)]]
    votes[0] = [("A", "B")[v] if n % 10 else "B" for n, v in enumerate(v for v in rows for _ in range(3))]
    alone = over_units(krippendorff_alpha, votes)
    together = over_units(krippendorff_alpha, votes, groups=[n // 3 for n in range(30)])
    assert alone is not None and together is not None
    assert over_units(krippendorff_alpha, votes, groups=list(range(30))) == alone
    assert over_units(krippendorff_alpha, votes, groups=[0] * 30) is None
    games = [("a", "b", 1.0), ("b", "c", 1.0), ("a", "c", 1.0)] * 10
    assert bradley_terry_ci(games, groups=list(range(30))) == bradley_terry_ci(games)


def test_kappa_and_alpha_are_those_of_a_slow_independent_count() -> None:
    """κ from the table of both raters, α from the coincidence matrix (Krippendorff 2011, section B)."""
    rng = np.random.default_rng(3)
    for _ in range(20):
        votes = [[("a", "b", "c", None)[v] for v in rng.integers(0, 4, 25)] for _ in range(3)]
        both = [(x, y) for x, y in zip(votes[0], votes[1], strict=True) if x and y]
        table = np.array([[sum(p == (x, y) for p in both) for y in "abc"] for x in "abc"], float)
        table /= table.sum()
        chance = float(table.sum(1) @ table.sum(0))
        assert cohen_kappa(votes[0], votes[1]) == pytest.approx((np.trace(table) - chance) / (1 - chance))
        matrix = np.zeros((3, 3))
        for unit in zip(*votes, strict=True):
            said = ["abc".index(v) for v in unit if v]
            for i, x in enumerate(said):
                for j, y in enumerate(said):
                    if i != j:
                        matrix[x, y] += 1 / (len(said) - 1)
        total, marginal = matrix.sum(), matrix.sum(1)
        seen = total - np.trace(matrix)
        expected = (total**2 - (marginal**2).sum()) / (total - 1)
        assert krippendorff_alpha(votes) == pytest.approx(1 - seen / expected)


def test_bradley_terry_is_the_greatest_of_its_likelihood() -> None:
    """With half a win each way added: no step of any strength makes the games likelier."""
    rng = np.random.default_rng(9)
    names = "abcd"
    wins = {(x, y): float(rng.integers(0, 9)) for x in names for y in names if x != y}
    found = bradley_terry(wins)

    def likelihood(strength: dict[str, float]) -> float:
        return sum(
            (count + 0.5) * (strength[x] - math.log(math.exp(strength[x]) + math.exp(strength[y])))
            for (x, y), count in wins.items()
        )

    best = likelihood(found)
    for name in names:
        for step in (-1e-3, 1e-3):
            assert likelihood({**found, name: found[name] + step}) < best
