"""Temperatures, calibration and promises, against numbers worked by hand and by simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest

from sodate.core.intervals import clopper_pearson
from sodate.evaluate import calibration
from sodate.evaluate.calibration import calibration_error, fit_temperature, probabilities, rows_needed, threshold


def test_probabilities_and_their_temperature_worked_by_hand() -> None:
    logp = np.log([[0.2, 0.2, 0.1]])
    assert probabilities(logp)[0] == pytest.approx([0.4, 0.4, 0.2])
    assert probabilities(logp, 0.5)[0] == pytest.approx([4 / 9, 4 / 9, 1 / 9])  # squared


def test_the_fitted_temperature_undoes_the_one_that_was_put_in() -> None:
    rng = np.random.default_rng(0)
    true = np.log(rng.dirichlet([0.5] * 4, 4000))
    right = [int(rng.choice(4, p=row)) for row in np.exp(true)]
    for heat in (0.4, 1.0, 2.5):
        assert fit_temperature(true * heat, right) == pytest.approx(heat, rel=0.08)
    assert fit_temperature(true, [-1] * 4000) == 1.0
    # Always right, or always wrong: as sure, or as unsure, as it may be.
    assert fit_temperature(true, true.argmax(1).tolist()) < 0.1
    assert fit_temperature(true, true.argmin(1).tolist()) > 15
    # Of few rows that is not believed. By hand, of 30 that were right at p = .8, where log T is normal around 0: with
    # b = 1 / T the slope 30 ln 4 / (1 + 4^b) - ln b / b is 0 at b = 3.421 (the widest prior is the likeliest here).
    few = np.log([[0.8, 0.2]] * 30)
    assert 1 / fit_temperature(few, [0] * 30) == pytest.approx(3.421, rel=0.02)
    # 8 of 10 were right: as often as they say.
    assert fit_temperature(few[:10], [0] * 8 + [1] * 2) == pytest.approx(1.0, abs=0.02)


def test_brier_and_calibration_error_worked_by_hand() -> None:
    table = np.array([[0.8, 0.2], [0.6, 0.4], [0.5, 0.5]])
    assert calibration.brier(table, [0, 1, -1]) == pytest.approx([0.04, 0.36, 0.75])
    # Two groups of one: |0.6 - 1| and |0.9 - 0|, each half.
    assert calibration_error([0.6, 0.9], [True, False]) == pytest.approx(0.65)
    assert calibration_error([0.75] * 40, [True] * 30 + [False] * 10) == 0
    assert calibration_error([1.0, 0.0], [True, False]) == 0
    low, high = calibration.calibration_error_ci([0.9] * 200, [True] * 100 + [False] * 100)
    assert low <= 0.4 <= high and high - low < 0.3


def test_a_promise_takes_as_many_rows_as_it_takes() -> None:
    assert rows_needed(0.95) == 59  # 0.95 ^ 59 < 0.05 < 0.95 ^ 58
    assert rows_needed(0.9) == 29
    assert threshold([0.9] * 58, [True] * 58, 0.95) is None
    assert threshold([0.9] * 59, [True] * 59, 0.95) == 0.9


def test_the_threshold_is_where_the_exact_bound_ends() -> None:
    # 200 right from 0.9 up, then every second wrong.
    sure = [1 - k / 2000 for k in range(200)] + [0.5 - k / 1000 for k in range(100)]
    right = [True] * 200 + [k % 2 == 0 for k in range(100)]
    found = threshold(sure, right, 0.95)
    kept = [r for c, r in zip(sure, right, strict=True) if c >= found]
    assert 200 < len(kept) < 220
    wrong = kept.count(False)
    # 300 rows are too few for three starts: all of the risk is for one.
    assert clopper_pearson(wrong, len(kept), 0.9)[1] <= 0.05
    assert clopper_pearson(wrong + 1, len(kept) + 2, 0.9)[1] > 0.05
    assert threshold(sure, [False] * 300, 0.95) is None
    # Rows of one confidence are answered together or not at all.
    assert threshold([0.9] * 100 + [0.8] * 100, [True] * 100 + [False] * 100, 0.95) == 0.9


@pytest.mark.parametrize("n", [100, 400])
@pytest.mark.parametrize("kind", ["sharp", "flat", "steps"])
def test_the_promise_holds_in_nineteen_of_twenty_calibrations(n: int, kind: str) -> None:
    """The true share that is right above the threshold, known in closed form, in 1,000 simulated calibrations."""
    rng = np.random.default_rng(n)

    def drawn(count: int) -> tuple[np.ndarray, np.ndarray]:
        """Confidences, and the true probability of being right: more of one is not less of the other."""
        u = rng.random(count)
        if kind == "sharp":
            return u, 0.5 + 0.5 * np.sqrt(u)  # half of all can be answered at 95 %
        if kind == "flat":
            return u, np.full(count, 0.949)  # just below the promise everywhere: any answer breaks it
        steps = np.floor(u * 4)
        return steps, np.array([0.6, 0.9, 0.97, 0.999])[steps.astype(int)]

    population, truth = drawn(200_000)
    order = np.argsort(population)[::-1]
    above = np.cumsum(truth[order]) / np.arange(1, len(order) + 1)
    broken = answered = 0
    for _ in range(1000):
        sure, p = drawn(n)
        found = threshold(sure.tolist(), (rng.random(n) < p).tolist(), 0.95)
        if found is None:
            continue
        answered += 1
        count = int((population >= found).sum())
        broken += above[count - 1] < 0.95
    assert broken <= 50 + 2 * math.sqrt(1000 * 0.05 * 0.95) * (kind == "flat")  # flat is exactly at the limit
    assert kind != "steps" or n < 400 or answered > 700


@pytest.mark.parametrize("sure", [0.4, 3.0])
@pytest.mark.parametrize("flat", [False, True])
def test_the_promise_holds_where_the_temperature_is_of_the_same_rows(sure: float, flat: bool) -> None:
    """Four options whose true probabilities are known, told too surely or not surely enough; or a model that is right
    in 949 of 1,000 wherever it is asked, so that any promise of 95 % is broken."""
    rng = np.random.default_rng(int(10 * sure))

    def drawn(n: int) -> tuple[np.ndarray, np.ndarray]:
        """Log-probabilities as the model tells them, and the true probability that its answer is right."""
        logit = rng.normal(0, 8, (n, 4))
        p = probabilities(logit)
        return sure * logit, np.full(n, 0.949) if flat else p.max(axis=1)

    everywhere, truth = drawn(20_000)
    broken = answered = 0
    for _ in range(1000):
        logp, true = drawn(200)
        hits = rng.random(200) < true
        answers = np.where(hits, logp.argmax(axis=1), logp.argmin(axis=1))
        temperature = fit_temperature(logp, answers)
        found = threshold(probabilities(logp, temperature).max(axis=1).tolist(), hits.tolist(), 0.95)
        if found is None:
            continue
        answered += 1
        broken += truth[probabilities(everywhere, temperature).max(axis=1) >= found].mean() < 0.95
    assert broken <= (50 + 2 * math.sqrt(1000 * 0.05 * 0.95) if flat else 50)
    assert answered > (0 if flat else 500)


def test_no_map_changes_which_row_is_surer_and_chance_alone_has_an_error() -> None:
    rng = np.random.default_rng(4)
    sure = np.sort(rng.uniform(size=300))
    for kind in ("isotonic", "logistic"):
        found = calibration.fit_map(sure, rng.uniform(size=300) < 0.5, (kind,))
        assert (np.diff(found(sure)) > 0).all()
    # One group of 100 rows at .5: the mean distance of a share of 100 from .5 is .5 · √(2 / (100 π)) = .0399.
    assert calibration.calibration_error_by_chance([0.5] * 100) == pytest.approx(0.04, abs=0.004)
    assert calibration.calibration_error_by_chance([1.0] * 100) == 0


def test_isotonic_pools_neighbours_that_fall_and_is_never_surer_than_its_rows() -> None:
    found = calibration.fit_isotonic([0.1, 0.2, 0.3, 0.4, 0.9, 0.9], [False, True, False, True, True, True])
    # .2 and .3 are pooled, half right, at .25; the last three are right. One or three rows say little: .5 / 2, .5 / 4.
    assert found.x == pytest.approx((0.1, 0.25, 2.2 / 3))
    assert found.y == pytest.approx((0.25, 0.5, 0.875))
    assert found([0.0, 0.25, (0.25 + 2.2 / 3) / 2, 1.0]) == pytest.approx([0.25, 0.5, 0.6875, 0.875], abs=1e-6)


def test_a_map_is_taken_where_answers_it_was_not_fitted_on_say_so() -> None:
    rng = np.random.default_rng(0)
    sure = rng.uniform(size=900)
    right = rng.uniform(size=900) < sure
    assert calibration.fit_map(sure, right, ("logistic", "isotonic")).kind == "logistic"
    stepped = rng.uniform(size=900) < np.where(sure < 0.7, 0.1, 0.9)
    found = calibration.fit_map(sure, stepped, ("logistic", "isotonic"))
    assert found.kind == "isotonic" and found([0.5])[0] < 0.25 and found([0.85])[0] > 0.8
    assert calibration.fit_map(sure[:20], stepped[:20], ("logistic", "isotonic")).kind == "logistic"  # too few to say
    fresh = rng.uniform(size=4000)
    hits = rng.uniform(size=4000) < np.where(fresh < 0.7, 0.1, 0.9)
    assert calibration_error(found(fresh), hits) < 0.08 < 0.2 < calibration_error(fresh, hits)


def test_the_logistic_map_finds_the_one_that_was_put_in() -> None:
    rng = np.random.default_rng(1)
    sure = rng.uniform(0.01, 0.99, size=6000)
    true = 1 / (1 + np.exp(-(0.5 * np.log(sure / (1 - sure)) - 1)))
    found = calibration.fit_logistic(sure, rng.uniform(size=6000) < true)
    assert (found.x[0], found.y[0]) == (pytest.approx(0.5, abs=0.05), pytest.approx(-1, abs=0.08))
    assert 0.9 <= calibration.fit_logistic([0.9] * 10, [True] * 10)([0.9])[0] <= 11 / 12
    backwards = calibration.fit_logistic(sure, rng.uniform(size=6000) < 1 - sure)
    assert backwards([0.1, 0.9]) == pytest.approx([0.5, 0.5], abs=0.02)


@pytest.mark.parametrize(("a", "b"), [(0.5, -0.5), (0.4, -1.5), (0.2, -3)])
def test_a_model_that_is_far_too_sure_is_brought_down_as_far_as_it_has_to_be(a: float, b: float) -> None:
    """Most of its odds are where the logistic curve is flat, from where a full step of Newton's leads away."""
    rng = np.random.default_rng(0)
    odds = np.concatenate([rng.normal(6, 2.5, 4000), rng.normal(0, 1, 2000)])
    sure = 1 / (1 + np.exp(-odds))
    found = calibration.fit_logistic(sure, rng.uniform(size=6000) < 1 / (1 + np.exp(-(a * odds + b))))
    assert (found.x[0], found.y[0]) == (pytest.approx(a, abs=0.06), pytest.approx(b, abs=0.25))


def test_few_rows_that_agree_with_the_confidence_leave_it_nearly_as_it_is() -> None:
    """Without a prior 100 rows move exact confidences by .033 on average, which is three quarters of what they show."""
    moved = []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        sure = np.concatenate([rng.beta(12, 0.8, 60), rng.beta(2, 2, 40)]).clip(1e-4, 1 - 1e-6)
        found = calibration.fit_logistic(sure, rng.uniform(size=100) < sure)
        moved.append(np.abs(np.array(found(sure)) - sure).mean())
    assert np.mean(moved) < 0.02
