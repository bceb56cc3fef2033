"""Statistics against hand-worked numbers and brute force."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sodate.core.intervals import paired_proportion_ci, wilson
from sodate.evaluate import stats


def test_mcnemar_equals_the_binomial_worked_by_hand() -> None:
    # 10 flips, 8 one way: 2 * (1 + 10 + 45) / 1024
    assert stats.mcnemar_exact(8, 2) == pytest.approx(112 / 1024)
    assert stats.mcnemar_exact(0, 5) == pytest.approx(2 / 32)
    assert stats.mcnemar_exact(0, 0) == 1.0
    assert stats.mcnemar_exact(3, 3) == 1.0


@given(st.integers(0, 300), st.integers(0, 300))
def test_mcnemar_equals_the_summed_binomial_and_ignores_the_side(fixed: int, broken: int) -> None:
    n, few = fixed + broken, min(fixed, broken)
    expected = min(1.0, 2 * sum(math.comb(n, i) for i in range(few + 1)) / (1 << n))
    assert stats.mcnemar_exact(fixed, broken) == pytest.approx(expected)
    assert stats.mcnemar_exact(broken, fixed) == stats.mcnemar_exact(fixed, broken)


def test_mcnemar_survives_ten_thousand_flips() -> None:
    assert stats.mcnemar_exact(6000, 4000) < 1e-80


@given(st.integers(0, 7), st.integers(0, 7), st.integers(0, 5))
@settings(deadline=None)
def test_sign_flips_on_binary_differences_are_exact_mcnemar(fixed: int, broken: int, same: int) -> None:
    diffs = [1.0] * fixed + [-1.0] * broken + [0.0] * same
    assert stats.sign_flip_p(diffs or [0.0], seed=0) == pytest.approx(stats.mcnemar_exact(fixed, broken))


@given(st.lists(st.integers(-8, 8), min_size=1, max_size=9))
@settings(deadline=None)
def test_sign_flip_p_equals_trying_every_sign(eighths: list[int]) -> None:
    diffs = [value / 8 for value in eighths]  # eighths add without rounding
    reach = abs(sum(diffs))
    signs = list(itertools.product((-1, 1), repeat=len(diffs)))
    hits = sum(abs(sum(s * d for s, d in zip(row, diffs, strict=True))) >= reach for row in signs)
    assert stats.sign_flip_p(diffs, seed=0) == pytest.approx(hits / len(signs))


def test_sampled_sign_flips_come_close_to_the_exact_answer_and_never_say_zero() -> None:
    diffs = [1.0] * 16 + [-1.0] * 6
    assert stats.sign_flip_p(diffs, seed=3) == pytest.approx(stats.mcnemar_exact(16, 6), abs=0.01)
    assert stats.sign_flip_p([1.0] * 100, seed=0) == pytest.approx(1 / 10_001)


def test_sign_flips_move_whole_clusters() -> None:
    # Two clusters that agree in direction: four sign patterns, two of them as extreme.
    assert stats.sign_flip_p([1.0] * 10, seed=0, clusters=[0] * 5 + [1] * 5) == 0.5


def test_bootstrap_equals_the_enumeration_of_all_resamples() -> None:
    diffs = [-0.5, 0.0, 0.25, 1.0]
    means = [np.mean(row) for row in itertools.product(diffs, repeat=4)]
    expected = np.quantile(means, [0.05, 0.95])
    assert stats.paired_bootstrap(diffs, seed=1, level=0.9, resamples=40_000) == pytest.approx(expected, abs=0.03)


def test_bootstrap_repeats_with_its_seed_and_has_no_width_it_did_not_earn() -> None:
    diffs = list(np.linspace(-0.2, 0.6, 50))
    assert stats.paired_bootstrap(diffs, seed=1) == stats.paired_bootstrap(diffs, seed=1)
    assert stats.paired_bootstrap(diffs, seed=1) != stats.paired_bootstrap(diffs, seed=2)
    assert stats.paired_bootstrap([0.5], seed=1) is None
    assert stats.paired_bootstrap([0.5, 0.5], seed=1, clusters=["a", "a"]) is None
    # Ten equal zeros: a share of 1 - 0.025 ** 0.1 of the population may never have been drawn.
    unseen = 1 - 0.025**0.1
    assert stats.paired_bootstrap([0.0] * 10, seed=1) == pytest.approx((-unseen, unseen))


def test_clusters_widen_the_interval_when_items_repeat_each_other() -> None:
    diffs = [1.0, 0.0, 0.0, 1.0, 0.0] * 10
    alone = stats.paired_bootstrap(sorted(diffs), seed=0)
    grouped = stats.paired_bootstrap(sorted(diffs), seed=0, clusters=[i // 10 for i in range(50)])
    assert alone and grouped and grouped[1] - grouped[0] > alone[1] - alone[0]


def test_wilson_equals_the_textbook_interval() -> None:
    # Newcombe (1998), 81 of 263: 0.2553 to 0.3662; 0 of 20: 0 to 0.1611.
    assert wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert wilson(0, 20) == pytest.approx((0.0, 0.1611), abs=5e-5)
    assert wilson(20, 20)[1] == 1.0


@given(st.lists(st.floats(0, 1), min_size=0, max_size=30))
@settings(deadline=None, max_examples=30)
def test_a_mean_interval_holds_the_mean_and_has_width(scores: list[float]) -> None:
    ci = stats.mean_ci(scores)
    if len(scores) < 2:
        assert ci is None
        return
    assert ci is not None
    assert -1e-9 <= ci[0] <= ci[1] <= 1 + 1e-9
    if max(scores) == min(scores):
        assert ci[0] - 1e-9 <= scores[0] <= ci[1] + 1e-9 and ci[1] - ci[0] > 0.05


def test_a_mean_of_zeros_and_ones_gets_wilson() -> None:
    assert stats.mean_ci([1, 0, 1, 1]) == wilson(3, 4)


@pytest.mark.parametrize(("fixed", "broken"), [(0, 0), (5, 0), (0, 5), (30, 10), (100, 0), (0, 100), (50, 50)])
def test_a_paired_proportion_interval_holds_the_difference_and_has_width(fixed: int, broken: int) -> None:
    low, high = paired_proportion_ci(fixed, broken, 100)
    assert -1 <= low < high <= 1
    assert low <= (fixed - broken) / 100 <= high


def test_paired_proportion_interval_worked_by_hand() -> None:
    # fixed 8.5, broken 2.5, n 102: centre 6/102, half 1.96 * sqrt(11 - 36/102) / 102
    half = 1.959964 * math.sqrt(11 - 36 / 102) / 102
    assert paired_proportion_ci(8, 2, 100) == pytest.approx((6 / 102 - half, 6 / 102 + half), abs=1e-6)


def test_the_paired_proportion_interval_covers_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    flips = rng.multinomial(80, [0.15, 0.05, 0.8], size=2000)
    hits = 0
    for fixed, broken, _ in flips.tolist():
        low, high = paired_proportion_ci(fixed, broken, 80)
        hits += low <= 0.10 <= high
    assert 0.93 <= hits / 2000 <= 0.98


def test_holm_equals_the_steps_worked_by_hand() -> None:
    # Sorted .01 .03 .04 times 3, 2, 1 and never falling: .03 .06 .06
    assert stats.holm([0.04, 0.01, 0.03]) == pytest.approx([0.06, 0.03, 0.06])
    assert stats.holm([0.9, 0.8]) == [1.0, 1.0]
    assert stats.holm([]) == []


@pytest.mark.parametrize(("n", "points"), [(100, 12.5), (200, 8.9), (500, 5.6), (1000, 4.0)])
def test_smallest_difference_is_the_published_table(n: int, points: float) -> None:
    assert round(100 * stats.smallest_difference(n), 1) == points


def test_verdicts() -> None:
    assert stats.verdict(0.2, (0.1, 0.3), 0.01, n=100) == "better"
    assert stats.verdict(-0.2, (-0.3, -0.1), 0.01, n=100) == "worse"
    assert stats.verdict(0.2, (0.1, 0.3), 0.06, n=100) == "inconclusive"  # Holm took it away
    assert stats.verdict(0.2, (-0.01, 0.4), 0.04, n=100) == "inconclusive"
    assert stats.verdict(0.0, (-0.02, 0.02), 1.0, n=100) == "equivalent"
    assert stats.verdict(0.0, (-0.02, 0.04), 1.0, n=100) == "inconclusive"
    assert stats.verdict(0.0, (-0.02, 0.04), 1.0, 0.05, n=100) == "equivalent"
    assert stats.verdict(0.0, (-0.001, 0.001), 1.0, n=5) == "inconclusive"  # five items prove no sameness
    assert stats.verdict(1.0, None, 1.0, n=1) == "inconclusive"
