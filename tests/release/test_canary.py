"""A canary answers its share of people, the same ones each time, and ends where it does badly or nothing is known."""

from __future__ import annotations

from pathlib import Path

import pytest

from sodate.core.errors import UsageError
from sodate.release import aliases
from sodate.release.canary import Figures, Limits, broken, takes


def figures(ended: int, failed: int = 0, at: float = 0.0, seconds: float = 1.0) -> Figures:
    found = Figures()
    for n in range(ended):
        found.count(at, seconds, 1, n < failed)
    return found


def test_a_share_of_people_is_answered_and_each_of_them_stays_where_they_are() -> None:
    people = [f"user {n}" for n in range(4000)]
    mine = {who for who in people if takes("support@production orders@2", who, 0.1)}
    assert 330 < len(mine) < 470  # five standard deviations around 400
    assert mine == {who for who in people if takes("support@production orders@2", who, 0.1)}
    assert mine < {who for who in people if takes("support@production orders@2", who, 0.5)}  # a larger share keeps them
    other = {who for who in people if takes("support@production orders@3", who, 0.1)}
    assert len(mine & other) < 90  # the next canary is not tried on the same people: 40 are in both by chance


@pytest.mark.parametrize(
    ("ended", "failed", "ends"),
    [
        (1, 1, True),  # 2 % may fail: one of one has probability .02
        (2, 1, True),  # 1 - .98² = .040
        (3, 1, False),  # 1 - .98³ = .059
        (100, 5, False),  # P(X ≥ 5) = .051
        (100, 6, True),  # P(X ≥ 6) = .016
        (100, 0, False),
    ],
)
def test_it_ends_when_chance_does_not_explain_its_failures(ended: int, failed: int, ends: bool) -> None:
    why = broken(Limits(max_errors=0.02), figures(ended, failed), figures(500), now=1.0, began=0.0)
    assert (why is not None) == ends and (not ends or f"{failed} of {ended}" in str(why))


def test_it_ends_when_its_tokens_take_too_long_and_not_by_a_few_requests() -> None:
    limits, stable = Limits(max_slower=2.0), figures(50, seconds=0.1)
    assert broken(limits, figures(20, seconds=0.19), stable, 1.0, 0.0) is None
    assert broken(limits, figures(19, seconds=0.5), stable, 1.0, 0.0) is None
    assert "5.0 times" in str(broken(limits, figures(20, seconds=0.5), stable, 1.0, 0.0))


def test_it_ends_when_figures_are_missing() -> None:
    limits = Limits(patience=60)
    assert broken(limits, figures(0), figures(100), now=59.0, began=0.0) is None
    assert "No figures" in str(broken(limits, figures(0), figures(100), now=61.0, began=0.0))
    assert broken(limits, figures(3, at=50.0), figures(0), now=100.0, began=0.0) is None
    assert "No figures" in str(broken(limits, figures(3, at=50.0), figures(0), now=111.0, began=0.0))


@pytest.mark.parametrize("wrong", [{"share": 0.0}, {"share": 1.0}, {"max_errors": -0.1}, {"patience": 0.0}])
def test_limits_that_cannot_be_are_refused_by_name(wrong: dict[str, float]) -> None:
    with pytest.raises(UsageError) as caught:
        Limits(**wrong).checked()
    assert caught.value.param in wrong


def test_a_canary_whose_share_is_changed_is_the_same_canary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SODATE_HOME", str(tmp_path))
    times = iter(["1", "2", "3", "4", "5", "6"])
    monkeypatch.setattr(aliases, "now", lambda: next(times))
    begun = []
    with aliases.moving("a@production"):
        for kind, version in [("promote", "a@1"), ("canary", "a@2"), ("canary", "a@2"), ("canary", "a@3"),
                              ("abort", "a@1"), ("canary", "a@2")]:  # fmt: skip
            aliases.move("a@production", kind, version)
            begun.append(aliases.canary_since("a@production"))
    assert begun == ["", "2", "2", "4", "", "6"]
