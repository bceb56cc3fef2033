"""Datasets as versions: immutable, with ids that survive, held-out rows apart, and uses that are counted."""

from __future__ import annotations

import json
import math
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from sodate.api import datasets as api
from sodate.api.data import check
from sodate.core.errors import SodateError, UsageError
from sodate.data import datasets


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SODATE_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)


def write(name: str, *rows: Any) -> Path:
    path = Path(name)
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")
    return path


def pair(prompt: str, reply: str, **more: Any) -> dict[str, Any]:
    return {"prompt": prompt, "completion": reply, **more}


QUESTIONS = [
    pair("返品の送料は誰が負担しますか。", "当店が負担します。"),
    pair("支払い方法を教えてください。", "カードです。"),
]


def test_what_is_added_is_a_version_and_nothing_new_makes_none() -> None:
    first = api.add(write("a.jsonl", *QUESTIONS), "support", by="hana", licence="CC-BY-4.0", consent="terms 3")
    assert (first.dataset.id, first.added, first.new) == ("support@1", 2, True)
    again = api.add(Path("a.jsonl"), "support")
    assert (again.dataset.id, again.new, again.ledger.counts["known-row"]) == ("support@1", False, 2)
    second = api.add(write("b.jsonl", pair("領収書は出ますか。", "はい。", kind="billing")), "support", note="June")
    assert second.dataset.id == "support@2" and second.to_json()["rows"] == 3
    rows = [json.loads(line) for line in datasets.located("support@2").read_text("utf-8").splitlines()]
    assert rows[0]["messages"][1] == {"role": "assistant", "content": "当店が負担します。"}
    assert rows[0]["origin"]["licence"] == "CC-BY-4.0" and rows[0]["origin"]["by"] == "hana"
    assert rows[2]["kind"] == "billing" and rows[2]["origin"]["file"] == "b.jsonl"
    assert len({row["origin"]["row"] for row in rows}) == 3
    assert api.diff("support@1", "support@2") == {
        "from": "support@1", "to": "support@2", "added": [rows[2]["origin"]["row"]], "removed": [], "changed": [],
        "same": 2,
    }  # fmt: skip
    assert len(api.diff("support@1")["added"]) == 2
    log = api.log("support@2")["versions"]
    assert [(one["dataset"], one["parent"], one["note"]) for one in log] == [
        ("support@1", None, None), ("support@2", "support@1", "June"),
    ]  # fmt: skip
    assert api.show("support@1")["licences"] == {"CC-BY-4.0": 2}


def test_adds_at_once_wait_for_one_another_and_see_each_others_rows() -> None:
    for number, row in enumerate(QUESTIONS):
        write(f"{number}.jsonl", row)
    names = ["one", "two", "one", "tests", "two"]
    with ThreadPoolExecutor(5) as pool:
        done = list(pool.map(lambda at: _added(f"{at % 2}.jsonl", names[at]), range(5)))
    assert any(done) and len({one.id for one in datasets.newest()}) >= 2
    sides = [{row["prompt"] if "prompt" in row else row["messages"][0]["content"] for one in datasets.newest()
              if one.held_out == held for row in one.each()} for held in (True, False)]  # fmt: skip
    assert not sides[0] & sides[1] and sides[0] | sides[1] == {row["prompt"] for row in QUESTIONS}


def _added(file: str, name: str) -> bool:
    try:
        return api.add(file, name, role="held-out" if name == "tests" else None).new
    except SodateError as error:
        assert error.code == "no_rows", error.message
        return False


def test_a_name_where_a_file_is_asked_for_is_told_how_to_write_it() -> None:
    api.add(write("a.jsonl", *QUESTIONS), "support")
    with pytest.raises(UsageError) as error:
        check("support")
    assert "support@1" in str(error.value.fix)
    with pytest.raises(UsageError) as error:
        check("suport")
    assert "support@1" in str(error.value.fix)


def test_an_id_survives_a_correction_and_an_exchange_is_one_row() -> None:
    origin = {"exchange": "resp_1", "reviewer": "hana", "decision": "accept"}
    api.add(write("a.jsonl", pair("送料は？", "千円です。", origin=origin)), "support")
    (row,) = datasets.find("support").each()
    after = api.add(
        write("b.jsonl", pair("送料は？", "無料です。", origin={**origin, "decision": "correct"})), "support"
    )
    (new,) = after.dataset.each()
    assert (after.added, after.changed) == (0, 1) and new["origin"]["row"] == row["origin"]["row"]
    assert api.diff("support@2")["changed"] == [row["origin"]["row"]]
    assert api.made_from(["resp_1"]) == ["support@1", "support@2"] and api.made_from(["resp_2"]) == []
    api.add(write("c.jsonl", pair("在庫は？", "あります。")), "support")
    gone = api.remove("support", exchanges=["resp_1"], note="forget")
    assert (gone.dataset.id, gone.removed) == ("support@4", 1)
    assert "resp_1" not in gone.dataset.rows.read_text("utf-8")
    assert api.delete("support@1") == "support@1" and not (datasets.folder("support") / "1" / "rows.jsonl").exists()
    with pytest.raises(UsageError, match="support@2"):
        datasets.located("support@1")


def test_the_same_long_answer_to_a_question_within_another_never_crosses() -> None:
    long = "返品は到着から十四日以内に、注文番号を添えてフォームからお申し込みください。送料は当店が負担いたします。"
    api.add(write("held.jsonl", pair("返品の方法", long), pair("交換", "できます。")), "held", role="held-out")
    asked = write("asked.jsonl", pair("教えてください。返品の方法", long), pair("教えてください。交換", "できます。"))
    made = api.add(asked, "support")
    assert [(p.line, p.code) for p in made.ledger.set_aside] == [(1, "held-out-row")] and made.added == 1


def test_held_out_rows_and_training_rows_never_meet_in_either_order() -> None:
    api.add(write("test.jsonl", *QUESTIONS, pair("りんごを3個ください。", "{}")), "support-test", role="held-out")
    given = [
        pair("返品の送料は誰が負担しますか?", "お客様です。"),  # the same but for its marks
        pair("すみません、返品の送料は誰が負担しますか。", "当店です。"),  # near
        pair("りんごを5個ください。", "[]"),  # one template, other values: another question
        {"messages": [{"role": "user", "content": "支払い方法を教えてください。"},
                      {"role": "assistant", "content": "現金。"},
                      {"role": "user", "content": "ほかには？"}, {"role": "assistant", "content": "カード。"}]},
    ]  # fmt: skip
    ones = [write(f"{number}.jsonl", row) for number, row in enumerate(given)]
    done = api.add(ones, "support")
    assert [(Path(one.file).name, one.code) for one in done.ledger.set_aside] == [
        ("0.jsonl", "held-out-row"), ("1.jsonl", "held-out-row"), ("3.jsonl", "held-out-row"),
    ]  # fmt: skip
    assert done.dataset.manifest["rows"] == 1 and "support-test@1" in done.ledger.set_aside[0].message
    other = api.add(
        write("late.jsonl", pair("りんごを5個ください", "x"), pair("営業時間は？", "9時です。")), "support-test"
    )
    assert [one.code for one in other.ledger.set_aside] == ["trained-row"] and other.added == 1
    with pytest.raises(UsageError) as error:
        api.add(Path("late.jsonl"), "support", role="held-out")
    assert error.value.code == "held_out_data"
    for held_out in ("support-test@1", datasets.located("support-test@2")):
        with pytest.raises(UsageError, match="held out"):
            datasets.to_train_on(held_out)
    assert datasets.to_train_on("support@1").name == "rows.jsonl"
    assert check("support@1", against="support-test@2").ledger.rows_used == 1


def test_uses_of_a_held_out_dataset_are_counted_until_it_is_worn_out() -> None:
    api.add(write("a.jsonl", *QUESTIONS), "quiz", role="held-out")
    assert datasets.count_use("a.jsonl", "evaluation", "r") is None
    for number in range(1, 51):
        wear = datasets.count_use("quiz@1", "evaluation", f"report-{number}")
        assert wear is not None and wear["uses"] == number and wear["worn"] == (number == 50)
    # Two rows, 50 looks: √(0.2 / 2) · √(2 ln 50) = 0.3162 · 2.7971.
    assert math.isclose(wear["luck"], 0.8845, abs_tol=1e-4)
    assert "50" in datasets.wear_said(wear) and len(api.log("quiz@1")["uses"]) == 50
    assert api.show("quiz")["wear"]["worn"]


def test_what_no_person_reviewed_and_my_numbers_stay_out() -> None:
    rows = [
        pair("一", "二", origin={"exchange": "resp_9"}), pair("三", "四", origin={"teacher": "big-model"}),
        pair("番号は123456789018です", "はい"), pair("五", "六"),
    ]  # fmt: skip
    done = api.add(write("a.jsonl", *rows), "support")
    assert [one.code for one in done.ledger.set_aside] == ["unreviewed-row", "unreviewed-row", "my-number-row"]
    assert api.add(Path("a.jsonl"), "support", unreviewed=True).added == 2


def test_damage_is_found_and_what_is_not_there_is_said() -> None:
    api.add(write("a.jsonl", *QUESTIONS), "support")
    rows = datasets.find("support@1").rows
    rows.write_text(rows.read_text("utf-8").replace("当店", "本店"), "utf-8")
    with pytest.raises(SodateError) as error:
        datasets.located("support@1")
    assert error.value.code == "damaged"
    with pytest.raises(UsageError) as missing:
        datasets.located("support@9")
    assert missing.value.code == "dataset_not_found"
    with pytest.raises(UsageError):
        datasets.folder("../x")
    assert datasets.located("a.jsonl") == Path("a.jsonl")


def test_preferences_stay_preferences_and_kinds_are_not_mixed() -> None:
    api.add(write("p.jsonl", {"prompt": "問い", "chosen": "良い", "rejected": "悪い"}), "pairs")
    (row,) = datasets.find("pairs").each()
    assert row["chosen"] == "良い"
    done = api.add(write("c.jsonl", *QUESTIONS), "pairs")
    assert done.ledger.counts["unknown-format"] == 2 and not done.new


def test_a_teachers_replies_are_rows_with_its_terms_and_wait_for_a_reviewer(tmp_path: Path) -> None:
    from sodate.api.distilling import teach

    write("prompts.jsonl", {"prompt": "一"}, {"prompt": "二"})
    write("replies.jsonl", {"reply": '{"a": 1}'}, {"reply": "no JSON"})
    with pytest.raises(UsageError, match="terms"):
        teach("prompts.jsonl", "taught.jsonl", teacher="big", terms=" ", replies="replies.jsonl")
    done = teach("prompts.jsonl", "taught.jsonl", teacher="big", terms="internal use", replies="replies.jsonl",
                 graders=["json"])  # fmt: skip
    assert (done["rows"], done["left"]) == (1, {"json": 1})
    with pytest.raises(SodateError):
        api.add("taught.jsonl", "support")
    (row,) = api.add("taught.jsonl", "support", reviewer="hana").dataset.each()
    assert row["origin"]["teacher"] == "big" and row["origin"]["terms"] == "internal use"
    assert row["origin"]["reviewer"] == "hana" and api.show("support")["sources"] == {"teacher big": 1}
