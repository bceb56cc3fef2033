"""Failures with their reasons, the worst first, page by page; and what is forgotten."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from sodate.core.errors import UsageError
from sodate.db.connection import reading
from sodate.db.tables import ReplyTag, StoredReply
from sodate.learn import feedback, logs, recording, retention
from sodate.learn.exchange import BROKEN, confidence
from sodate.learn.failures import by_week, failures
from sodate.learn.keeping import DAY
from sodate.learn.reasons import REASONS, together
from sodate.serve import stored
from tests.db.test_connection import database, postgres  # noqa: F401 (fixtures)
from tests.learn.made import TODAY, exchange, keep


@pytest.mark.parametrize(
    ("changes", "rules", "reason"),
    [
        ({"formed": True, "finish": BROKEN}, {}, "broken_schema"),
        ({"formed": True, "finish": "length"}, {}, "broken_schema"),
        ({"reply": "not JSON"}, {"graders": ("json",)}, "broken_schema"),
        ({"reply": "It is absolutely safe."}, {"graders": ("banned_words:absolutely",)}, "banned_words"),
        ({"reply": "No."}, {"graders": ("length:min=10,max=50",)}, "judged_wrong"),
        ({"confidence": 0.2}, {}, "low_confidence"),
        ({"reply": "申し訳ございませんが、分かりかねます。"}, {}, "abstained"),
        ({"grounded": True}, {}, "no_passage"),
        ({"latency_ms": 20_001}, {}, "slow"),
    ],
)  # fmt: skip
def test_each_failure_says_why(home: Path, changes: dict[str, Any], rules: dict[str, Any], reason: str) -> None:
    keep(exchange("chatcmpl-1", **changes), exchange("chatcmpl-2", "Something else?", '"A reply that is all right."'),
         rules=rules)  # fmt: skip
    told = failures()
    assert [(one["id"], [why["reason"] for why in one["reasons"]]) for one in told["failures"]] == [
        ("chatcmpl-1", [reason])
    ]
    assert (told["exchanges"], told["failed"]) == (2, 1)
    assert [(one["reason"], one["count"]) for one in told["reasons"]] == [(reason, 1)]


def test_a_question_that_is_answered_differently_when_asked_again_is_a_failure(database: str) -> None:  # noqa: F811
    keep(exchange("chatcmpl-1", reply="Two days."), exchange("chatcmpl-2", reply="two  days."))
    keep(exchange("chatcmpl-3", reply="Five days."), exchange("chatcmpl-4", reply="Nine.", version="orders@2"))
    assert [one["id"] for one in failures(reason="answered_differently")["failures"]] == ["chatcmpl-3"]


def test_the_worst_come_first_and_pages_meet_without_gap_or_overlap(database: str) -> None:  # noqa: F811
    keep(*(exchange(f"chatcmpl-{n}", f"Question {n}?", latency_ms=30_000 if n % 2 else 100,
                    confidence=0.1 if n % 3 else 0.9) for n in range(30)))  # fmt: skip
    found: list[Any] = []
    after = None
    while True:
        page = failures(limit=4, after=after)
        found += page["failures"]
        after = page["next"]
        if after is None:
            break
    severities = [one["severity"] for one in found]
    assert severities == sorted(severities, reverse=True) and len({one["id"] for one in found}) == len(found) == 25
    assert severities[0] == pytest.approx(1 - (1 - 0.35) * (1 - 0.2))
    assert [one["id"] for one in failures(reason="slow", limit=2)["failures"]] == ["chatcmpl-29", "chatcmpl-27"]


def place(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).decode()


@pytest.mark.parametrize(
    "after",
    ["x", "!!!", "bnVsbA", "WzEsMl0gIA==", place(f"[1, {10**30}]"), place("[1, 1e999]"), place(f"[{10**400}, 1]"),
     place("[" * 50_000)],
)  # fmt: skip
def test_a_place_that_no_page_ended_at_is_refused_or_empty(home: Path, after: str) -> None:
    keep(exchange("chatcmpl-1"))
    try:
        assert failures(after=after)["failures"] == []
    except UsageError as error:
        assert error.param == "after"


def test_a_month_without_failures_says_so(home: Path) -> None:
    keep(exchange("chatcmpl-1"))
    told = failures()
    assert told["failures"] == [] and told["reasons"] == [] and told["shown"]["rate"] == 0
    monday = 19_996  # 2024-09-30
    assert by_week() == [{"week": monday, "exchanges": 1, "failures": 0}]


def test_several_reasons_are_worse_than_one_and_none_is_beyond_all_measure() -> None:
    assert together([]) == 0 and together([0.5, 0.5]) == 0.75
    assert together([severity for severity, _ in REASONS.values()]) < 1
    assert list(REASONS) == sorted(REASONS, key=lambda name: -REASONS[name][0])


def test_confidence_is_the_geometric_mean_and_unknown_where_a_token_is() -> None:
    assert confidence([-0.5, -1.5]) == pytest.approx(2.718281828**-1)
    assert confidence([]) is None and confidence([-0.5, None]) is None


def test_exchanges_go_when_they_are_old_enough(home: Path) -> None:
    recording.change("default", {"mode": "on", "keep_days": 10})
    keep(exchange("chatcmpl-old", created_at=TODAY - 11 * DAY), exchange("chatcmpl-new", created_at=TODAY - 9 * DAY))
    feedback.give("chatcmpl-old", thumb="down")
    retention.sweep(TODAY - DAY)
    assert retention.sweep(TODAY) == 1
    assert [one["id"] for one in logs.listed()["exchanges"]] == ["chatcmpl-new"]
    assert logs.listed()["served"] == 2  # how many there were is nobody's secret


def test_stored_replies_go_with_their_age_and_with_their_person(home: Path) -> None:
    recording.change("default", {"keep_days": 10})
    for number, (user, days) in enumerate([("taro", 11), ("taro", 9), ("hanako", 9), (None, 9)]):
        body = {"model": "orders@1", "created": TODAY - days * DAY}
        stored.put("response", f"resp_{number}", body, [], {"tag": "x"}, "default", user)
    retention.sweep(TODAY - DAY)
    assert retention.sweep(TODAY) == 1
    assert logs.forget("taro", "default")["stored_replies"] == 1
    with reading() as session:
        assert session.scalars(sa.select(StoredReply.id)).all() == ["resp_2", "resp_3"]
        assert session.scalars(sa.select(ReplyTag.reply)).all() == [3, 4]


def test_a_clock_that_jumps_takes_no_exchange_along(home: Path) -> None:
    recording.change("default", {"mode": "on", "keep_days": 10})
    keep(exchange("chatcmpl-1", created_at=TODAY))
    retention.sweep(TODAY)
    retention.sweep(TODAY + 3600)
    for jumped in (TODAY + 400 * DAY, TODAY + 400 * DAY + 3600, TODAY - 500 * DAY, TODAY + 7200):
        assert retention.sweep(jumped) == 0
    assert [one["id"] for one in logs.listed()["exchanges"]] == ["chatcmpl-1"]
    # Later on the right clock it goes when its time has come.
    assert sum(retention.sweep(TODAY + 7200 + hours * 12 * 3600) for hours in range(1, 30)) == 1


def test_a_person_is_forgotten_with_all_they_asked_and_said(database: str) -> None:  # noqa: F811
    keep(exchange("chatcmpl-1", user="taro"), exchange("chatcmpl-2", user="hanako"),
         exchange("chatcmpl-3", user="taro", project="shop"))  # fmt: skip
    feedback.give("chatcmpl-2", thumb="down", user="taro")
    hashed = logs.show("chatcmpl-1")["user"]
    told = logs.forget(hashed)
    assert (told["exchanges"], told["feedback"]) == (1, 1)
    assert (told["datasets"], told["versions"], told["reports"]) == ([], [], [])
    assert [one["id"] for one in logs.listed()["exchanges"]] == ["chatcmpl-2"]
    assert logs.show("chatcmpl-2")["feedback"] == [] and failures()["failed"] == 0
    assert logs.listed("shop")["exchanges"][0]["id"] == "chatcmpl-3"  # another project knows another person
    assert logs.forget("taro", "shop")["exchanges"] == 1
    assert logs.forget(hashed)["exchanges"] == 0


def test_who_is_to_be_forgotten_by_a_name_has_to_be_said_with_the_project(home: Path) -> None:
    with pytest.raises(UsageError):
        logs.forget("taro")


def test_what_was_made_of_a_persons_exchanges_is_named(home: Path, tmp_path: Path) -> None:
    from sodate.api import datasets
    from sodate.learn import examples, review

    keep(exchange("chatcmpl-1", user="taro"), exchange("chatcmpl-2", "Other?", user="hanako"))
    for id in ("chatcmpl-1", "chatcmpl-2"):
        review.decide(id, "aoki", "accept")
    examples.write(tmp_path / "rows.jsonl")
    dataset = datasets.add(tmp_path / "rows.jsonl", "support").dataset.id
    version = home / "versions" / "orders" / "2"
    version.mkdir(parents=True)
    about = {
        "schema_version": 1,
        "recipe": {"data": [str(tmp_path / "rows.jsonl")]},
        "base": "x",
        "data": {},
        "files": {},
    }
    (version / "version.json").write_text(json.dumps(about))
    report = home / "reports" / "r1"
    report.mkdir(parents=True)
    (report / "result.json").write_text(json.dumps({"schema_version": 1, "measured": {"orders": "orders@2"}}))
    retention.older_than("default", TODAY + 1)  # also when the exchange itself is long gone
    told = logs.forget("taro", "default")
    assert told["files"] == [str(tmp_path / "rows.jsonl")] and told["datasets"] == [dataset]
    assert told["versions"] == ["orders@2"] and told["reports"] == [str(report / "report.html")]
    assert logs.forget("nobody", "default")["versions"] == []
