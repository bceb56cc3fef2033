"""Three versions and more are put in order: on sheets, in Label Studio, at the terminal; and graders beside people."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest

from sodate.api import ballots
from sodate.api.judged import grader_agreement, judged
from sodate.api.people import folder, make_sheets
from sodate.api.votes import booth, import_sheet
from sodate.core.errors import SodateError, UsageError
from sodate.core.types import Preference, Ranking
from sodate.data.check import check
from tests import worker
from tests.api.test_people import fill, table
from tests.farm import write_rows
from tests.grade.scripted import Scripted


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SODATE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("SODATE_LANG", "en")
    (tmp_path / "home").mkdir()
    return tmp_path / "home"


def study(tmp_path: Path, names: str = "abc", count: int = 20, out: str = "sheet.csv", **more: Any) -> dict[str, Any]:
    rows = [{"prompt": f"question {n}", "reference_answer": f"a{n}"} for n in range(count)]
    data = write_rows(tmp_path / "data.jsonl", rows)
    for name in names:
        write_rows(tmp_path / f"{name}.jsonl", [{"reply": f"{name}{n}"} for n in range(count)])
    given = [f"{tmp_path / name}.jsonl:{name}" for name in names]
    return make_sheets([], data, tmp_path / out, replies=given, **more)


def by_name(row: dict[str, Any], order: str) -> str:
    """The vote that puts versions in this order, by the letters under which a row shows them."""
    letters = {row[letter][0]: letter for letter in "ABC" if letter in row}
    return "".join(letters.get(one, one) for one in order)


def test_an_order_of_three_is_a_vote_on_every_pair_and_trains(tmp_path: Path) -> None:
    done = study(tmp_path, ranking=True, viewpoints=["good"])
    rows = table(Path(done["sheets"][0]))
    assert list(rows[0]) == ["id", "prompt", "A", "B", "C", "good"]
    assert len({by_name(row, "abc") for row in rows}) > 3  # random places
    for row in rows:
        n = int(row["prompt"].split()[1])
        row["good"] = "" if n == 0 else "bad" if n == 1 else by_name(row, "a>b=c" if n % 2 else "b>a>c")
    import_sheet(fill(tmp_path / "aoki.csv", rows, "cp932"))
    found = judged(done["study"], preferences=tmp_path / "pairs.jsonl")
    (good,) = found["viewpoints"]
    pairs = {tuple(pair["models"]): pair for pair in good["pairs"]}
    assert pairs["a", "b"] == {
        "models": ["a", "b"],
        "n": 19,
        "wins": {"a": 9, "b": 9},
        "ties": 0,
        "both_bad": 1,
        "p": 1,
    }
    assert pairs["b", "c"]["wins"] == {"b": 9, "c": 0} and pairs["b", "c"]["ties"] == 9
    strength = good["strength"]
    assert strength["a"]["value"] > strength["b"]["value"] > strength["c"]["value"]
    assert strength["a"]["ci"][0] <= strength["a"]["value"] <= strength["a"]["ci"][1]
    lines = [json.loads(line) for line in (tmp_path / "pairs.jsonl").read_text().splitlines()]
    assert len(lines) == 19 and lines[0]["origin"]["raters"] == ["aoki"]
    assert sum(line.get("all_bad", False) for line in lines) == 1
    checked = check([tmp_path / "pairs.jsonl"])
    examples = list(checked.iter_examples())
    assert len(examples) == 19 and all(isinstance(one, Ranking) for one in examples)
    for line in lines:
        if not line.get("all_bad"):
            number = int(line["prompt"][0]["content"].split()[1])
            assert dict(zip((reply[0] for reply in line["replies"]), line["ranks"], strict=True)) == (
                {"a": 1, "b": 2, "c": 2} if number % 2 else {"b": 1, "a": 2, "c": 3}
            )


def test_an_order_that_leaves_out_or_repeats_is_refused_with_its_row(tmp_path: Path) -> None:
    done = study(tmp_path, ranking=True, viewpoints=["good"], count=4)
    rows = table(Path(done["sheets"][0]))
    for vote, why in (("AB", "leaves out C"), ("ABB", "B twice"), ("ABF", "names F"), ("1 2", "2 places")):
        with pytest.raises(SodateError, match=rf"back\.csv:3: under good {vote} .*{why}") as refused:
            import_sheet(fill(tmp_path / "back.csv", [rows[0], {**rows[1], "good": vote}, *rows[2:]]))
        assert refused.value.code == "bad_sheet"
    with pytest.raises(UsageError, match="in order"):
        study(tmp_path, names="abcdefghi", ranking=True)


def annotation(one: str, votes: dict[str, str], **who: Any) -> dict[str, Any]:
    result = [{"from_name": name, "to_name": "prompt", "type": "choices", "value": {"choices": [vote]}}
              for name, vote in votes.items()]  # fmt: skip
    return {"completed_by": who or 7, "was_cancelled": False, "result": result}


def test_label_studio_imports_blind_tasks_and_its_export_comes_back(tmp_path: Path) -> None:
    done = study(tmp_path, names="ab", count=3, out="tasks.json", viewpoints=["good & <kind>", "polite"])
    tasks = json.loads((tmp_path / "tasks.json").read_text())
    assert [sorted(task["data"]) for task in tasks] == [["A", "B", "id", "prompt"]] * 3
    view = ET.parse(tmp_path / "tasks.xml").getroot()
    assert [one.get("name") for one in view.iter("Choices")] == ["v1", "v2"]
    assert [one.get("value") for one in view.iter("Choice")][:4] == ["A", "B", "tie", "bad"]
    assert {"good & <kind>", "polite"} <= {one.get("value") for one in view.iter("Header")}
    export = [
        {"id": 9, "data": task["data"], "annotations": [
            annotation("", {"v1": "A", "v2": "tie"}, id=1, email="aoki@example.com"),
            annotation("", {"v1": "bad"}, id=2, email="sato@example.com"),
            {**annotation("", {"v1": "B"}), "was_cancelled": True}]}
        for task in tasks
    ]  # fmt: skip
    (tmp_path / "export.json").write_text(json.dumps(export))
    back = import_sheet(tmp_path / "export.json")
    assert (back["rater"], back["rows"], back["votes"]) == ("aoki, sato", 6, 9)
    found = judged(done["study"])
    assert found["raters"] == ["aoki", "sato"] and found["viewpoints"][1]["pairs"][0]["ties"] == 3
    assert list(found["viewpoints"][0]["kappa_ci"]) == ["aoki, sato"]


def test_an_export_with_rows_missing_double_or_unknown_is_refused(tmp_path: Path) -> None:
    study(tmp_path, names="ab", count=3, out="tasks.json", viewpoints=["good"])
    tasks = json.loads((tmp_path / "tasks.json").read_text())
    whole = [{"data": task["data"], "annotations": [annotation("", {"v1": "A"})]} for task in tasks]
    strange = {"data": {**tasks[0]["data"], "id": tasks[0]["data"]["id"] + "9"}, "annotations": whole[0]["annotations"]}
    for changed, why in (
        (whole[1:], "1 row missing"), ([*whole, whole[0]], "there twice"), ([*whole, strange], "no row"),
        ([{**whole[0], "annotations": [annotation("", {"v1": "C"})]}, *whole[1:]], "names C"),
        ([{"data": tasks[0]["data"], "annotations": []}], "nobody has annotated"),
    ):  # fmt: skip
        (tmp_path / "e.json").write_text(json.dumps(changed))
        with pytest.raises(SodateError, match=why):
            import_sheet(tmp_path / "e.json")
    (tmp_path / "e.json").write_text(json.dumps(whole[1:]))
    assert import_sheet(tmp_path / "e.json", partial=True, by="kato")["rows"] == 2
    (tmp_path / "e.json").write_text("[1")
    for bad, why in ((tmp_path / "e.json", "no task has the id"), (tmp_path / "absent.json", "cannot be read")):
        with pytest.raises(SodateError, match=why):
            import_sheet(bad)


def test_a_task_that_was_skipped_is_a_row_without_votes(tmp_path: Path) -> None:
    study(tmp_path, names="ab", count=3, out="tasks.json", viewpoints=["good"])
    first, *tasks = json.loads((tmp_path / "tasks.json").read_text())
    skipped = {**annotation("", {}), "was_cancelled": True}
    export = [{"data": first["data"], "annotations": [skipped]}]
    export += [{"data": task["data"], "annotations": [skipped, annotation("", {"v1": "A"})]} for task in tasks]
    (tmp_path / "e.json").write_text(json.dumps(export))
    back = import_sheet(tmp_path / "e.json")
    assert (back["rater"], back["rows"], back["votes"]) == ("7", 3, 2)


def test_a_sheet_without_a_viewpoint_or_without_rows_is_refused(tmp_path: Path) -> None:
    done = study(tmp_path, names="ab", count=3, viewpoints=["good", "polite"])
    lines = Path(done["sheets"][0]).read_text("utf-8-sig").splitlines()
    sheet = tmp_path / "back.csv"
    for kept, why in (([line.rpartition(",")[0] for line in lines], "no column polite"), (lines[:1], "no rows")):
        sheet.write_text("\n".join(kept))
        with pytest.raises(SodateError, match=why):
            import_sheet(sheet)


def test_rankings_in_label_studio_have_a_place_for_each_reply(tmp_path: Path) -> None:
    done = study(tmp_path, count=2, out="tasks.json", ranking=True, viewpoints=["good"])
    view = ET.parse(tmp_path / "tasks.xml").getroot()
    assert [one.get("name") for one in view.iter("Choices")] == ["v1_A", "v1_B", "v1_C", "v1_all"]
    first, second = json.loads((tmp_path / "tasks.json").read_text())
    export = [{"data": first["data"], "annotations": [annotation("", {"v1_A": "2", "v1_B": "1", "v1_C": "2"})]},
              {"data": second["data"], "annotations": [annotation("", {"v1_all": "bad"})]}]  # fmt: skip
    (tmp_path / "e.json").write_text(json.dumps(export))
    import_sheet(tmp_path / "e.json", by="mori")
    votes = json.loads((folder(done["study"]) / "votes" / "mori.json").read_text())["votes"]
    assert [one["good"] for one in votes.values()] == ["B>A=C", "bad"]


def test_votes_at_the_terminal_are_kept_row_by_row(tmp_path: Path, home: Path) -> None:
    done = study(tmp_path, names="ab", count=3, viewpoints=["good"])
    stopped = worker.run("judge", "vote", done["study"], "--by", "aoki", home=home, stdin="a\nmaybe\nb\nq\n")
    assert stopped.code == 0, stopped.err
    assert (
        "a0" in stopped.out + stopped.err and "is not A, B, tie or bad" in stopped.out and "1 row left" in stopped.out
    )
    assert done["models"] == ["a", "b"] and not any(name in stopped.out for name in ("a.jsonl", "b.jsonl"))
    left = booth(done["study"], "aoki")
    assert (len(left.rows), left.total) == (1, 3)
    ended = worker.run("judge", "vote", done["study"], "--by", "aoki", "--json", home=home, stdin="x\n")
    assert json.loads(ended.out) == {"study": done["study"], "rater": "aoki", "rows": 3, "left": 0}
    assert judged(done["study"])["viewpoints"][0]["pairs"][0]["n"] == 3
    with pytest.raises(UsageError, match="no sheet 2"):
        booth(done["study"], "aoki", sheet=2)


def test_a_grader_agrees_with_people_as_far_as_kappa_says(tmp_path: Path) -> None:
    done = study(tmp_path, names="ab", viewpoints=["good"])
    rows = table(Path(done["sheets"][0]))
    for n, row in enumerate(rows):
        row["good"] = by_name(row, "a" if n < 15 else "b")
    import_sheet(fill(tmp_path / "aoki.csv", rows))
    always = grader_agreement(done["study"], "exact")  # a is the reference: it always chooses a, whatever side
    sides = ["A" if row["A"].startswith("a") else "B" for row in rows]
    people = [row["good"] for row in rows]
    observed = 15 / 20
    expected = sum(people.count(side) * sides.count(side) for side in "AB") / 400
    assert always["kappa"] == pytest.approx((observed - expected) / (1 - expected))
    assert always["agreed"] == observed and always["n"] == 20 and always["models"] == {}
    assert always["kappa_ci"][0] < always["kappa"] < always["kappa_ci"][1]
    judge = Scripted('{"result": "A"}')  # whatever stands first: a tie in both orders
    tied = grader_agreement(done["study"], "pair_model:elsewhere", judges=judge)
    assert tied["kappa"] == 0 and tied["models"] == {"elsewhere": "elsewhere: elsewhere"} and len(judge.asked) == 40
    with pytest.raises(UsageError, match="no viewpoint 'polite'"):
        grader_agreement(done["study"], "exact", viewpoint="polite")


def test_pairs_train_as_preferences_and_a_sheet_may_be_in_cp932(tmp_path: Path) -> None:
    done = study(tmp_path, names="ab", count=4, viewpoints=["良さ"], sheet_encoding="cp932")
    text = Path(done["sheets"][0]).read_bytes().decode("cp932")
    assert text.startswith("id,prompt,A,B,良さ")
    rows = [dict(zip(text.splitlines()[0].split(","), line.split(","), strict=True)) for line in text.splitlines()[1:]]
    import_sheet(fill(tmp_path / "r.csv", [{**row, "良さ": by_name(row, "b")} for row in rows], "cp932"))
    judged(done["study"], preferences=tmp_path / "p.jsonl")
    examples = list(check([tmp_path / "p.jsonl"]).iter_examples())
    assert len(examples) == 4 and all(
        isinstance(one, Preference) and one.chosen[0].content[0] == "b" for one in examples
    )


def test_the_pages_take_an_order_and_say_what_is_wrong_with_one(tmp_path: Path) -> None:
    done = study(tmp_path, ranking=True, viewpoints=["good"], count=2)
    shown = ballots.ballot(done["study"], "kato")
    assert len(shown["replies"]) == 3
    assert ballots.cast(done["study"], "kato", shown["row"], {"good": "b a=c"})["votes"] == {"good": "B>A=C"}
    for votes, why in (({"good": "ab"}, "leaves out C"), ({"kind": "abc"}, "no such viewpoint")):
        with pytest.raises(UsageError, match=why):
            ballots.cast(done["study"], "kato", shown["row"], votes)
    assert judged(done["study"])["raters"] == ["kato"]
