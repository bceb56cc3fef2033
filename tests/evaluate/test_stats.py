"""Statistics against hand-worked numbers and brute force."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sodate.core.intervals import (
    beta_cdf,
    beta_quantile,
    clopper_pearson,
    paired_proportion_ci,
    t_quantile,
    wilson,
)
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


def test_an_interval_of_differences_worked_by_hand() -> None:
    # Units 0, 0, .25, .75, half of one more at .75 and half at -.375 (as far on the other side): 5 units, mean .2375.
    units = [0.0, 0.0, 0.25, 0.75]
    mean = (1.0 + (0.75 - 0.375) / 2) / 5
    spread = sum((u - mean) ** 2 for u in units) + ((0.75 - mean) ** 2 + (-0.375 - mean) ** 2) / 2
    half = 3.182446 * math.sqrt(spread * 5 / 4) / 5  # t with 3 degrees of freedom; the variance is spread / (5 - 1) / 5
    assert stats.paired_interval(units) == pytest.approx((mean - half, mean + half), abs=1e-6)
    # Where both signs were seen alike far, the ends are those of the data.
    both = stats.paired_interval([-0.5, 0.0, 0.5])
    assert both is not None and both[0] == pytest.approx(-both[1])


def test_an_interval_has_no_width_it_did_not_earn() -> None:
    assert stats.paired_interval([0.5]) is None
    assert stats.paired_interval([0.5, 0.5], clusters=["a", "a"]) is None
    # Ten equal zeros: a share of 1 - 0.025 ** 0.1 of the population may never have been drawn.
    unseen = 1 - 0.025**0.1
    assert stats.paired_interval([0.0] * 10) == pytest.approx((-unseen, unseen))


def test_one_item_a_cluster_is_no_clusters_and_unequal_ones_count_as_fewer() -> None:
    diffs = [0.1, -0.2, 0.4, 0.0, 0.3, -0.1]
    assert stats.paired_interval(diffs, clusters=list("abcdef")) == pytest.approx(stats.paired_interval(diffs))
    doubled = stats.paired_interval(diffs * 2, clusters=list("abcdef") * 2)
    assert doubled == pytest.approx(stats.paired_interval(diffs))  # the same rows twice say nothing new


@pytest.mark.parametrize(
    ("drawn", "clusters"),
    [
        (lambda rng: rng.beta(3, 2, 20) - rng.beta(2, 2, 20), None),
        (lambda rng: np.where(rng.random(100) < 0.1, rng.uniform(0, 1, 100), 0.0), None),
        (lambda rng: np.where(rng.random(100) < 0.15, rng.uniform(-0.5, 1, 100), 0.0), None),
        (lambda rng: np.repeat(rng.normal(0, 0.2, 10), 5) + rng.normal(0, 0.2, 50), np.repeat(range(10), 5).tolist()),
        (lambda rng: np.repeat(rng.normal(0, 0.2, 30), 5) + rng.normal(0, 0.2, 150), np.repeat(range(30), 5).tolist()),
    ],
    ids=["few", "mostly zero, gains", "mostly zero", "10 clusters", "30 clusters"],
)
def test_the_interval_covers_as_often_as_it_says_where_data_are_few(drawn, clusters) -> None:
    rng = np.random.default_rng(7)
    truth = np.mean([drawn(rng).mean() for _ in range(20_000)])
    rounds, hits = 1500, 0
    for _ in range(rounds):
        low, high = stats.paired_interval(drawn(rng).tolist(), clusters=clusters)
        hits += low <= truth <= high
    assert 0.935 <= hits / rounds <= 0.985  # .94 less one standard error of 1,500 rounds


def test_evaluations_without_a_difference_hardly_ever_decide() -> None:
    rng = np.random.default_rng(3)
    for draw, clusters in (
        (lambda: rng.normal(0, 0.2, 20), None),
        (lambda: np.repeat(rng.normal(0, 0.2, 12), 3) + rng.normal(0, 0.2, 36), np.repeat(range(12), 3).tolist()),
    ):
        said = []
        for number in range(1000):
            diffs = np.clip(draw(), -1, 1).tolist()
            p = stats.sign_flip_p(diffs, seed=number, resamples=400, clusters=clusters)
            ci = stats.paired_interval(diffs, clusters=clusters)
            said.append(stats.verdict(float(np.mean(diffs)), ci, p, n=20))
        assert sum(one in ("better", "worse") for one in said) <= 50


def test_clusters_widen_the_interval_when_items_repeat_each_other() -> None:
    diffs = [1.0, 0.0, 0.0, 1.0, 0.0] * 10
    alone = stats.paired_interval(sorted(diffs))
    grouped = stats.paired_interval(sorted(diffs), clusters=[i // 10 for i in range(50)])
    assert alone and grouped and grouped[1] - grouped[0] > alone[1] - alone[0]


def test_quantiles_are_those_of_the_tables() -> None:
    # Student's t, scipy.stats.t.ppf(0.975, df); and its closed form for one degree, tan(0.475 π).
    for freedom, value in ((2, 4.3026527), (9, 2.2621572), (29, 2.0452296), (3.7, 2.8675207)):
        assert t_quantile(0.95, freedom) == pytest.approx(value, abs=1e-7)
    assert t_quantile(0.95, 1) == pytest.approx(math.tan(0.475 * math.pi))
    # scipy.stats.binomtest(k, n).proportion_ci(0.95, "exact"); 0 of n has the closed form 1 - 0.025 ^ (1 / n).
    assert clopper_pearson(3, 20) == pytest.approx((0.0320709, 0.3789268), abs=1e-7)
    assert clopper_pearson(95, 100) == pytest.approx((0.8871651, 0.9835681), abs=1e-7)
    assert clopper_pearson(0, 20) == pytest.approx((0.0, 1 - 0.025 ** (1 / 20)))


@given(st.floats(0.01, 0.99), st.integers(1, 40), st.integers(1, 40))
@settings(deadline=None, max_examples=60)
def test_the_beta_distribution_sums_the_binomial_and_its_quantile_inverts_it(x: float, a: int, b: int) -> None:
    n = a + b - 1
    tail = sum(math.comb(n, k) * x**k * (1 - x) ** (n - k) for k in range(a, n + 1))
    assert beta_cdf(x, a, b) == pytest.approx(tail, abs=1e-10)
    if 1e-6 < tail < 1 - 1e-6:
        assert beta_quantile(tail, a, b) == pytest.approx(x, abs=1e-7)


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


def test_few_items_show_only_what_enough_flips_can_show() -> None:
    assert round(100 * stats.smallest_difference(40)) == 20
    # Ten items need six flips, all one way (2 / 2^6 < 0.05): at .673 that happens four times in five.
    share = stats.smallest_difference(10)
    assert sum(math.comb(10, k) * share**k * (1 - share) ** (10 - k) for k in range(6, 11)) == pytest.approx(0.8)
    assert stats.smallest_difference(5) == 1.0
    # 1.96 standard errors is the half-width; 2.80 of them are shown four times in five.
    assert stats.shown_by((-0.1, 0.1)) == pytest.approx(0.1 * 2.8016 / 1.96, abs=1e-4)
    assert stats.shown_by(None) is None


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
