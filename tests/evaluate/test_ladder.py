"""The rungs of a ladder side by side: which is recommended, when the rest can't pay, and what more rows would bring."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sodate.core.text import tr
from sodate.evaluate.ladder import Rung, learning_curve, nothing_to_gain, recommend
from sodate.evaluate.ladder_page import write_page


def rung(name: str, scores: list[float], cost: float = 1.0) -> Rung:
    replies = tuple(f"{name} says {score:g}" for score in scores)
    return Rung(
        name, tr(name, name), tuple(scores), replies, 1.0, 10**9, 10**9, 50.0, 0.5, cost / 1000, cost, (),
        f"sodate eval {name}", "report.html",
    )  # fmt: skip


RUNGS = st.lists(
    st.tuples(st.lists(st.sampled_from([0.0, 0.5, 1.0]), min_size=6, max_size=6), st.floats(0.01, 100)),
    min_size=1, max_size=6,
)  # fmt: skip


@given(RUNGS, st.floats(0, 1))
def test_the_recommended_rung_is_the_first_that_reaches_the_target(
    drawn: list[tuple[list[float], float]], target: float
) -> None:
    rungs = [rung(f"r{n}", scores, cost) for n, (scores, cost) in enumerate(drawn)]
    found = recommend(rungs, target)
    reaching = [one.name for one in rungs if sum(one.scores) / 6 >= target]
    assert found.reached == bool(reaching)
    if reaching:
        assert found.rung == reaching[0]
    else:
        assert found.rung in found.untold and found.best in found.untold


@given(RUNGS)
def test_without_a_target_nothing_cheaper_by_a_tenth_is_as_good(drawn: list[tuple[list[float], float]]) -> None:
    rungs = [rung(f"r{n}", scores, cost) for n, (scores, cost) in enumerate(drawn)]
    found = recommend(rungs, None)
    by_name = {one.name: one for one in rungs}
    assert by_name[found.best].mean == max(one.mean for one in rungs)
    least = min(by_name[name].cost_per_month for name in found.untold)
    assert by_name[found.rung].cost_per_month <= 1.1 * least


def test_a_clear_winner_is_recommended_whatever_it_costs_and_a_tie_goes_to_the_cheaper() -> None:
    weak, strong = rung("base", [0.0] * 40, 1), rung("sft", [1.0] * 40, 50)
    found = recommend([weak, strong], None)
    assert (found.rung, found.untold) == ("sft", ("sft",))
    assert "better than every other rung" in found.because
    nearly = rung("prompt", [1.0] * 39 + [0.0], 2)
    found = recommend([weak, nearly, strong], None)
    assert (found.rung, found.best, found.untold) == ("prompt", "sft", ("prompt", "sft"))
    assert "can't tell" in found.because and "差はこの評価データでは示せません" in found.because.ja


def test_costs_that_a_clock_can_not_tell_apart_are_equal() -> None:
    first, second = rung("base", [1.0] * 9, 1.05), rung("prompt", [1.0] * 9, 1.0)
    assert recommend([first, second], None).rung == "base"
    dearer = replace(first, cost_per_month=1.9)
    assert recommend([dearer, second], None).rung == "prompt"
    assert recommend([dearer, replace(second, others=1.0)], None).rung == "base"  # a busy machine's clock tells less


def test_rows_of_one_cluster_count_as_one() -> None:
    weak, strong = rung("base", [0.0] * 12, 1), rung("sft", [1.0] * 12, 50)
    assert recommend([weak, strong], None).rung == "sft"
    assert recommend([weak, strong], None, ["=a"] * 6 + ["=b"] * 6).rung == "base"  # two are too few to tell


def test_later_rungs_can_not_pay_once_the_target_is_reached_or_nothing_is_left_to_gain() -> None:
    good, perfect = rung("base", [1.0] * 9 + [0.0]), rung("prompt", [1.0] * 10)
    assert nothing_to_gain([good], 0.95) is None
    assert "reaches the target" in str(nothing_to_gain([good], 0.9))
    assert nothing_to_gain([good], None) is None
    assert "lacks 0.0 points" in str(nothing_to_gain([good, perfect], None))


def test_twice_the_rows_halve_the_error_again_where_four_times_the_rows_quartered_it() -> None:
    # Errors .8 and .2 after 50 and 200 rows: b = 1, so 400 rows leave .1.
    small, large = [0.0] * 80 + [1.0] * 20, [0.0] * 20 + [1.0] * 80
    found = learning_curve(small, large, (50, 200), None, seed=0)
    assert found.gain == pytest.approx(0.1)
    assert 0 < found.ci[0] < 0.1 < found.ci[1] < 0.2
    assert "400" in found.sentence() and "+10.0" in found.sentence()


def test_rows_that_brought_nothing_promise_nothing() -> None:
    worse = learning_curve([1.0, 0.0, 1.0, 0.0], [0.0, 0.0, 1.0, 0.0], (4, 16), None, seed=0)
    assert worse.gain == 0 and worse.ci[0] == 0
    done = learning_curve([0.0] * 4, [1.0] * 4, (4, 16), None, seed=0)
    assert (done.gain, done.ci) == (0, (0, 0))


def test_the_page_runs_nothing_and_shows_no_markup_of_strangers(tmp_path: Path) -> None:
    rungs = [rung("base", [0.0, 1.0, 0.0, 1.0], 0.5), rung("sft-9", [1.0, 1.0, 0.0, 1.0], 40)]
    evil = "<script>alert(1)</script>"
    page = write_page(
        tmp_path / "page.html", title=evil, rungs=rungs, chosen=recommend(rungs, 0.7), target=0.7, clusters=None,
        asked=[(evil, evil)] * 4, notes=[tr(evil, evil)], roles={"prompt": ["task"], "training": []}, currency=evil,
        replay=evil, folder=evil,
    )  # fmt: skip
    text = page.read_text("utf-8")
    assert "<script" not in text and "default-src 'none'" in text
    assert "style=" not in text  # the policy would drop it
    assert text.count("<circle") == 2 and "sodate eval sft-9" in text
    assert "sft-9 says 1" in text and "came right: 1, went wrong: 0" in text
