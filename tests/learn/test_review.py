"""People decide: one after another, two of them where wanted, fairly drawn; and what comes of it."""

from __future__ import annotations

import csv
import io
import json
import random
from pathlib import Path
from typing import Any

import pytest

from sodate.core.errors import SodateError, UsageError
from sodate.core.intervals import wilson
from sodate.core.text import visible
from sodate.core.types import Message
from sodate.learn import examples, feedback, handing, logs, review, stock
from sodate.terminal.reviewing import one_after_another
from tests.learn.made import TODAY, exchange, keep, many


def decide_all(reviewer: str, verdicts: dict[str, str], **options: Any) -> list[str]:
    """Decides everything that is drawn, as `verdicts` say; the ids in their order."""
    seen = []
    while items := review.queue(reviewer, **options):
        for item in items:
            decision = verdicts.get(item["id"], "accept")
            correction = "Better." if decision == "correct" else None
            review.decide(item["id"], reviewer, decision, correction=correction, drawn=item["drawn"])  # type: ignore[arg-type]
            seen.append(item["id"])
    return seen


def test_the_failure_rate_of_a_fair_share_has_an_interval_that_holds_the_truth(home: Path) -> None:
    """100 exchanges, every fifth wrong; failures that show are looked at first, and must not bias the rate."""
    keep(*(exchange(f"chatcmpl-{n}", f"Question {n}?", confidence=0.1 if n % 10 == 0 else 0.9) for n in range(100)))
    wrong = {f"chatcmpl-{n}": "reject" for n in range(0, 100, 5)}
    assert len(decide_all("aoki", wrong, draw="failures", overlap=0)) == 10  # all of them wrong
    assert review.progress()["failure_rate"]["n"] == 0  # nothing is known of all by looking at the worst
    for _ in range(2):
        for item in review.queue("aoki", draw="random", limit=15, overlap=0):
            review.decide(item["id"], "aoki", "reject" if item["id"] in wrong else "accept", drawn=item["drawn"])
    review.queue("aoki", draw="random", limit=1, overlap=0)
    told = review.progress()["failure_rate"]
    lots = sorted(logs.listed(limit=100)["exchanges"], key=lambda one: lot(one["id"]))
    share = [one["id"] for one in lots[: told["n"]]]
    assert told["n"] >= 30 and told["failed"] == sum(id in wrong for id in share)  # all exchanges up to a lot
    assert told["ci"] == list(wilson(told["failed"], told["n"])) and told["ci"][0] < 0.2 < told["ci"][1]


def lot(id: str) -> float:
    from sodate.learn import names

    return names.lot(id)


def test_a_rate_drawn_from_many_orders_is_right_on_average(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Over 400 draws of lots, the mean of 20 of 200 is the rate of all to a standard error of 0.4 %."""
    rng, rates = random.Random(0), []
    for _ in range(400):
        drawn = sorted((rng.random(), n % 5 == 0) for n in range(200))[:20]
        said = [(n, "aoki", "reject" if bad else "accept", True) for n, (_, bad) in enumerate(drawn)]
        rates.append(review.rate(said)["rate"])
    assert abs(sum(rates) / len(rates) - 0.2) < 0.015


def test_failures_come_worst_first_and_take_turns_with_the_share(home: Path) -> None:
    keep(*(exchange(f"chatcmpl-{n}", f"Question {n}?", confidence=0.9 - 0.01 * n, latency_ms=30_000 if n > 45 else 1)
           for n in range(50)))  # fmt: skip
    drawn = [item["drawn"] for item in review.queue("aoki", limit=10)]
    assert drawn[:2] == ["random", "failure"]
    worst = review.queue("aoki", draw="failures", limit=3)
    assert [item["id"] for item in worst] == ["chatcmpl-49", "chatcmpl-48", "chatcmpl-47"]


def test_what_one_person_decided_comes_to_nobody_again_but_the_overlap_to_a_second(home: Path) -> None:
    many([f"Question {n}?" for n in range(60)])
    seen = decide_all("aoki", {}, overlap=0.3)
    assert len(seen) == len(set(seen)) == 60
    again = decide_all("baba", {}, overlap=0.3)
    assert set(again) == {id for id in seen if review.twice(id, 0.3)} and 5 < len(again) < 35
    assert decide_all("chiba", {}, overlap=0.3) == []


def test_a_reviewer_who_turns_every_label_round_is_named(home: Path) -> None:
    many([f"Question {n}?" for n in range(60)])
    wrong = {f"chatcmpl-{n}" for n in range(0, 60, 3)}
    for n in range(60):
        id, bad = f"chatcmpl-{n}", f"chatcmpl-{n}" in wrong
        for reviewer in ("aoki", "baba"):
            review.decide(id, reviewer, "reject" if bad else "accept")
        review.decide(id, "mallory", "accept" if bad else "reject")
    told = review.progress()["agreement"]
    assert told["at_odds"] == ["mallory"] and told["kappa"]["aoki, baba"] == 1 and told["kappa"]["aoki, mallory"] < 0


def test_one_of_two_who_turns_labels_round_is_named_by_what_users_say(home: Path) -> None:
    many([f"Question {n}?" for n in range(40)])
    for n in range(40):
        id, bad = f"chatcmpl-{n}", n % 2 == 0
        feedback.give(id, thumb="down" if bad else "up", user=f"user {n}")
        review.decide(id, "aoki", "reject" if bad else "accept")
        review.decide(id, "mallory", "accept" if bad else "reject")
    assert review.progress()["agreement"]["at_odds"] == ["mallory"]


@pytest.mark.parametrize(
    ("decision", "correction"),
    [("maybe", None), ("correct", None), ("correct", "  "), ("accept", "Better.")],
)
def test_a_decision_that_is_none_is_refused(home: Path, decision: Any, correction: str | None) -> None:
    keep(exchange("chatcmpl-1"))
    with pytest.raises(UsageError):
        review.decide("chatcmpl-1", "aoki", decision, correction=correction)


def test_an_exchange_that_reviewers_reject_is_a_failure_until_they_accept_it(home: Path) -> None:
    keep(exchange("chatcmpl-1"))
    review.decide("chatcmpl-1", "aoki", "reject")
    assert [one["reason"] for one in logs.show("chatcmpl-1")["reasons"]] == ["judged_wrong"]
    review.decide("chatcmpl-1", "aoki", "accept")
    assert logs.show("chatcmpl-1")["reasons"] == [] and len(logs.show("chatcmpl-1")["reviews"]) == 1


def test_reviewed_rows_say_where_they_came_from_and_train_on_nothing_else(home: Path, tmp_path: Path) -> None:
    talk = (Message("user", "Hello."), Message("assistant", "Unreviewed."), Message("user", "Delivery?"))
    keep(exchange("chatcmpl-1", messages=talk), exchange("chatcmpl-2", "Price?"), exchange("chatcmpl-3", "Size?"),
         exchange("chatcmpl-4", "Colour?"), exchange("chatcmpl-5", "Weight?"))  # fmt: skip
    review.decide("chatcmpl-1", "aoki", "accept")
    review.decide("chatcmpl-2", "aoki", "correct", correction="Ten euros; ask mail@example.jp.", proposed_by="big@1")
    review.decide("chatcmpl-3", "aoki", "both_bad")
    review.decide("chatcmpl-4", "aoki", "accept")
    review.decide("chatcmpl-4", "baba", "reject")
    told = examples.write(tmp_path / "rows.jsonl")
    first, second = map(json.loads, (tmp_path / "rows.jsonl").read_text("utf-8").splitlines())
    assert told["rows"] == 2 and told["left"] == {"disagreed": 1, "rejected": 1, "skipped": 0, "calls": 0}
    assert [(one["role"], one.get("weight")) for one in first["messages"]] == [
        ("user", None), ("assistant", 0), ("user", None), ("assistant", None)
    ]  # fmt: skip
    assert first["messages"][-1]["content"] == "Two days."
    assert {key: first["origin"][key] for key in ("exchange", "reviewer", "decision", "version")} == {
        "exchange": "chatcmpl-1", "reviewer": "aoki", "decision": "accept", "version": "orders@1"
    }  # fmt: skip
    assert second["messages"][-1]["content"] == "Ten euros; ask EMAIL_1."
    assert second["origin"]["proposed_by"] == "big@1"


def test_characters_that_are_not_seen_are_escaped_in_rows(home: Path, tmp_path: Path) -> None:
    keep(exchange("chatcmpl-1", "Price\u202e?\x9b", "Two days.\u2028"))
    review.decide("chatcmpl-1", "aoki", "accept")
    examples.write(tmp_path / "rows.jsonl")
    text = (tmp_path / "rows.jsonl").read_text("utf-8")
    assert text == visible(text) and text.count("\n") == 1
    assert [one["content"] for one in json.loads(text)["messages"]] == ["Price\u202e?\x9b", "Two days.\u2028"]


def test_corrections_are_preferences_over_what_was_served(home: Path, tmp_path: Path) -> None:
    from sodate.api.data import check

    keep(exchange("chatcmpl-1"))
    with pytest.raises(SodateError, match="No reviewed"):
        examples.write(tmp_path / "rows.jsonl", kind="preferences")
    review.decide("chatcmpl-1", "aoki", "correct", correction="Three days.")
    examples.write(tmp_path / "rows.jsonl", kind="preferences")
    row = json.loads((tmp_path / "rows.jsonl").read_text("utf-8"))
    assert (row["chosen"], row["rejected"]) == ("Three days.", "Two days.")
    assert check(tmp_path / "rows.jsonl").ledger.rows_used == 1


@pytest.mark.parametrize("suffix", [".jsonl", ".csv", ".json"])
def test_what_is_handed_out_comes_back_filled_in(home: Path, tmp_path: Path, suffix: str) -> None:
    many(["Delivery?", "=SUM(1)", "価格は?"])
    file = tmp_path / f"sheet{suffix}"
    assert handing.export(review.queue("aoki"), file)["rows"] == 3
    if suffix == ".jsonl":
        rows = [json.loads(line) for line in file.read_text("utf-8").splitlines()]
        rows[0] |= {"decision": "correct", "correction": "Better."}
        rows[1] |= {"decision": "reject"}
        file.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
        ids = [row["id"] for row in rows]
    elif suffix == ".csv":
        table = list(csv.DictReader(io.StringIO(file.read_text("utf-8-sig"))))
        assert not any(cell.startswith("=") for row in table for cell in row.values())  # no spreadsheet computes it
        ids = [row["id"] for row in table]
        table[0] |= {"decision": "修正", "correction": "Better."}
        table[1] |= {"decision": "却下"}
        with file.open("w", encoding="cp932", newline="") as out:
            writer = csv.DictWriter(out, list(table[0]))
            writer.writeheader()
            writer.writerows(table)
    else:
        tasks = json.loads(file.read_text("utf-8"))
        ids = [task["data"]["id"] for task in tasks]
        choice = handing._choice
        text = {"from_name": "correction", "to_name": "reply", "type": "textarea", "value": {"text": ["Better."]}}
        tasks[0]["annotations"] = [{"completed_by": {"email": "aoki"}, "result": [choice("correct"), text]}]
        tasks[1]["annotations"] = [{"completed_by": {"email": "aoki"}, "result": [choice("reject")]}]
        file.write_text(json.dumps(tasks), "utf-8")
    told = handing.import_decisions(file, "aoki")
    assert told["decisions"] == 2 and told["gone"] == 0
    said = {id: [one["decision"] for one in logs.show(id)["reviews"]] for id in ids}
    assert said == {ids[0]: ["correct"], ids[1]: ["reject"], ids[2]: []}
    assert logs.show(ids[0])["reviews"][0]["correction"] == "Better."
    assert logs.show(ids[0])["reviews"][0]["reviewer"] == "aoki"


def test_another_form_than_those_of_review_is_refused(home: Path, tmp_path: Path) -> None:
    many(["Delivery?"])
    with pytest.raises(UsageError, match=r"\.xlsx"):
        handing.export(review.queue("aoki"), tmp_path / "r.pdf")
    assert not list(tmp_path.glob("r.*"))


@pytest.mark.parametrize(
    "lines",
    ["nonsense", '{"decision": "accept"}', '{"id": "chatcmpl-0", "decision": "perhaps"}',
     '{"id": "chatcmpl-0", "decision": "correct"}', "[]", '{"id": "chatcmpl-0", "decision": "reject"}',
     '{"id": "chatcmpl-0", "decision": "correct", "correction": {"a": 1}}',
     '{"id": "chatcmpl-0", "decision": "correct", "correction": "\\ud800"}',
     '{"id": "chatcmpl-0", "decision": "skip", "reviewer": "' + "x" * 65 + '"}'],
)  # fmt: skip
def test_a_sheet_that_is_wrong_somewhere_is_named_with_its_line_and_changes_nothing(
    home: Path, tmp_path: Path, lines: str
) -> None:
    many(["Delivery?"])
    (tmp_path / "back.jsonl").write_text('{"id": "chatcmpl-0", "decision": "accept"}\n' + lines + "\n", "utf-8")
    with pytest.raises(SodateError) as refused:
        handing.import_decisions(tmp_path / "back.jsonl", "aoki")
    assert refused.value.line == 2 and review.progress()["reviews"] == 0


@pytest.mark.parametrize(
    "result",
    [5, ["x"], [{"from_name": "decision", "value": "accept"}], [{"from_name": "decision", "value": {"choices": 5}}],
     [{"from_name": "note", "value": {"text": {"a": 1}}}]],
)  # fmt: skip
def test_a_result_of_label_studio_of_another_shape_is_named(home: Path, tmp_path: Path, result: Any) -> None:
    many(["Delivery?"])
    task = {"data": {"id": "chatcmpl-0"}, "annotations": [{"completed_by": 1, "result": result}]}
    (tmp_path / "back.json").write_text(json.dumps([task]), "utf-8")
    with pytest.raises(SodateError) as refused:
        handing.import_decisions(tmp_path / "back.json", "aoki")
    assert refused.value.code == "bad_sheet" and refused.value.line == 1


def test_separators_of_lines_in_a_text_cut_no_row_in_two(home: Path, tmp_path: Path) -> None:
    """JSON may hold U+2028 and U+0085 as they are; people paste them from web pages."""
    many(["One\u2028two?"])
    row = {"id": "chatcmpl-0", "decision": "correct", "correction": "Three\u2028four.\x85"}
    (tmp_path / "back.jsonl").write_text(json.dumps(row, ensure_ascii=False) + "\n", "utf-8")
    assert handing.import_decisions(tmp_path / "back.jsonl", "aoki")["decisions"] == 1
    (made,) = stock.reviewed_rows("default", tmp_path / "rows.jsonl")
    assert [one["content"] for one in made["messages"]] == ["One\u2028two?", "Three\u2028four.\x85"]


def test_rows_of_exchanges_that_are_gone_are_counted_and_take_no_others_along(home: Path, tmp_path: Path) -> None:
    many(["Delivery?"])
    rows = [{"id": "chatcmpl-gone", "decision": "accept"}, {"id": "chatcmpl-0", "decision": "accept"}]
    (tmp_path / "back.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    told = handing.import_decisions(tmp_path / "back.jsonl", "aoki")
    assert (told["decisions"], told["gone"]) == (1, 1)


def test_keys_decide_one_after_another(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    many([f"Question {n}?" for n in range(4)])
    monkeypatch.setattr("sys.stdin", io.StringIO("x\na\nc\nBetter.\nYes.\n\np\nq\n"))

    def proposed(items: Any) -> Any:
        return [{**item, "proposal": "Proposed.", "proposed_by": "big@1"} for item in items]

    done = one_after_another(
        lambda: review.queue("aoki"), lambda id, **told: review.decide(id, "aoki", **told), proposed
    )
    said = [one for n in range(4) for one in logs.show(f"chatcmpl-{n}")["reviews"]]
    assert done == 3 and sorted(one["decision"] for one in said) == ["accept", "correct", "correct"]
    assert {one["correction"]: one["proposed_by"] for one in said if one["correction"]} == {
        "Better.\nYes.": None, "Proposed.": "big@1"
    }  # fmt: skip
    assert "Question" in capsys.readouterr().out


def test_reviews_of_a_window_count_in_it_alone(home: Path) -> None:
    keep(exchange("chatcmpl-1"), exchange("chatcmpl-2", created_at=TODAY - 40 * 86_400))
    for id in ("chatcmpl-1", "chatcmpl-2"):
        review.decide(id, "aoki", "accept", drawn="random")
    assert review.progress(since=TODAY // 86_400 - 30)["failure_rate"]["n"] == 1
    assert review.progress()["failure_rate"]["n"] == 2
