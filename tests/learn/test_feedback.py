"""What people say of replies: once, late, by strangers, and much too often."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from sodate.core.errors import SodateError, UsageError
from sodate.learn import feedback, logs, retention
from sodate.learn.failures import failures
from tests.db.test_connection import database, postgres  # noqa: F401 (fixtures)
from tests.learn.made import TODAY, exchange, keep


def reasons(id: str) -> list[str]:
    return [one["reason"] for one in logs.show(id)["reasons"]]


def test_the_same_feedback_twice_is_one_and_a_changed_mind_changes_it(database: str) -> None:  # noqa: F811
    keep(exchange("chatcmpl-1"))
    first = feedback.give("chatcmpl-1", thumb="down", user="taro")
    assert feedback.give("chatcmpl-1", thumb="down", user="taro") == first
    assert len(logs.show("chatcmpl-1")["feedback"]) == 1 and reasons("chatcmpl-1") == ["thumbs_down"]
    assert failures()["failed"] == 1
    feedback.give("chatcmpl-1", thumb="up", user="taro")
    assert reasons("chatcmpl-1") == [] and failures()["failed"] == 0
    most = failures()["feedback"]["most"]
    assert [(one["said"], one["up"], one["down"]) for one in most] == [(1, 1, 0)]


def test_the_same_feedback_of_many_at_once_is_one(database: str) -> None:  # noqa: F811
    keep(exchange("chatcmpl-1"))
    with ThreadPoolExecutor(6) as pool:
        told = list(pool.map(lambda _: feedback.give("chatcmpl-1", thumb="down", user="taro"), range(12)))
    assert all(one == told[0] for one in told) and len(logs.show("chatcmpl-1")["feedback"]) == 1
    assert failures()["failed"] == 1 and failures()["feedback"]["most"][0]["said"] == 1


def test_what_is_left_out_stays_as_it_was_said(home: Path) -> None:
    keep(exchange("chatcmpl-1"))
    feedback.give("chatcmpl-1", thumb="down", comment="wrong price", user="taro")
    told = feedback.give("chatcmpl-1", label="price", user="taro")
    assert (told["thumb"], told["comment"], told["label"]) == ("down", "wrong price", "price")


def test_late_feedback_finds_its_exchange(home: Path) -> None:
    keep(exchange("chatcmpl-1"))
    keep(*(exchange(f"chatcmpl-{n}") for n in range(2, 40)))
    assert feedback.give("chatcmpl-1", thumb="up")["reply_id"] == "chatcmpl-1"


def test_an_edited_draft_is_a_correction_and_one_that_was_sent_as_it_is_a_thumb_up(home: Path) -> None:
    keep(exchange("chatcmpl-1", reply="Two days."), exchange("chatcmpl-2", reply="Two days."))
    edited = feedback.give("chatcmpl-1", sent="Three days, in winter five.")
    as_it_was = feedback.give("chatcmpl-2", sent=" Two  days. ")
    assert (edited["correction"], edited["thumb"]) == ("Three days, in winter five.", None)
    assert (as_it_was["correction"], as_it_was["thumb"]) == (None, "up")
    assert reasons("chatcmpl-1") == ["corrected"] and reasons("chatcmpl-2") == []


@pytest.mark.parametrize("id", ["chatcmpl-none", "../../etc/passwd", "a" * 400, "", "chatcmpl-1\0"])
def test_feedback_for_what_is_not_there_is_not_found(home: Path, id: str) -> None:
    keep(exchange("chatcmpl-1"))
    with pytest.raises(UsageError) as refused:
        feedback.give(id, thumb="up")
    assert refused.value.code == "not_found"


def test_feedback_for_another_projects_or_a_deleted_exchange_is_not_found(home: Path) -> None:
    keep(exchange("chatcmpl-1"), exchange("chatcmpl-2"))
    retention.older_than("default", TODAY + 1)
    for project, id in (("shop", "chatcmpl-1"), ("default", "chatcmpl-2")):
        with pytest.raises(UsageError) as refused:
            feedback.give(id, thumb="down", project=project)
        assert refused.value.code == "not_found"


@pytest.mark.parametrize(
    "said", [{}, {"thumb": "sideways"}, {"ranking": [0, 0]}, {"ranking": [1, 2]}, {"label": "x" * 300}]
)
def test_feedback_that_says_nothing_or_nonsense_is_refused(home: Path, said: dict[str, Any]) -> None:
    keep(exchange("chatcmpl-1"))
    with pytest.raises(UsageError):
        feedback.give("chatcmpl-1", **said)


def test_personal_data_in_feedback_is_scrubbed_and_kept_of_nobody_when_that_fails(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep(exchange("chatcmpl-1"))
    told = feedback.give("chatcmpl-1", correction="Write to canary-4242@example.jp", comment="090-1234-5678", user="a")
    assert "canary" not in told["correction"] and "1234" not in told["comment"]
    monkeypatch.setattr("sodate.learn.scrubbing.mask.mask_cells", lambda cells, names: 1 / 0)
    with pytest.raises(SodateError) as refused:
        feedback.give("chatcmpl-1", comment="raw", user="b")
    assert refused.value.code == "scrub_failed" and len(logs.show("chatcmpl-1")["feedback"]) == 1


def test_one_who_says_very_much_is_weighed_and_shown(home: Path) -> None:
    """200 thumbs down of one user among 30 up of 30 others: 87 % of the thumbs, and with weights two fifths."""
    keep(*(exchange(f"chatcmpl-{n}") for n in range(230)))
    for n in range(200):
        feedback.give(f"chatcmpl-{n}", thumb="down", user="troll")
    for n in range(200, 230):
        feedback.give(f"chatcmpl-{n}", thumb="up", user=f"user {n}")
    people = failures()["feedback"]
    worst = people["most"][0]
    assert (worst["said"], worst["weight"]) == (200, 0.1) and worst["share"] == pytest.approx(200 / 230)
    assert people["down_share"] == pytest.approx(200 / 230)
    assert people["down_share_weighed"] == pytest.approx(20 / 50)  # 20 of the one, and one of each of the others
    # The first of them are as bad as any thumb down, the fortieth half; those after it make no failure alone.
    told = failures(limit=1000)
    page = told["failures"]
    assert (told["failed"], len(page), [one["count"] for one in told["reasons"]]) == (40, 40, [40])
    assert page[0]["severity"] == pytest.approx(0.7) and page[-1]["severity"] == pytest.approx(0.7 * 0.5, abs=1e-4)
    # They are kept and shown, and count where another says the same.
    assert logs.show("chatcmpl-199")["feedback"][0]["weight"] == 0.1 and not logs.show("chatcmpl-199")["reasons"]
    feedback.give("chatcmpl-199", thumb="down", user="somebody")
    assert failures()["failed"] == 41
