"""Reports as files for colleagues, two of them row by row, and the baselines beside a version."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import openpyxl
import pytest

import sodate
from sodate.api import contestants
from sodate.api.contestants import field_of
from sodate.api.reports import compare_reports, write_report_table
from sodate.core.errors import UsageError
from sodate.core.intervals import paired_proportion_ci
from sodate.core.types import Message
from tests import worker
from tests.farm import write_rows


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SODATE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("SODATE_LANG", "en")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "home").mkdir()
    return tmp_path / "home"


def evaluated(right: set[int], n: int = 30, graders: Any = "exact", data: str = "held.jsonl") -> str:
    """A report on replies that are right on these rows; its name."""
    write_rows(Path(data), [{"prompt": f"q{i} 髙橋", "reference_answer": f"a{i}"} for i in range(n)])
    write_rows(Path("old.jsonl"), [{"reply": "=wrong"} for _ in range(n)])
    write_rows(Path("new.jsonl"), [{"reply": f"a{i}" if i in right else "違う〜\u2212"} for i in range(n)])
    return sodate.evaluate([], data, graders, replies=["old.jsonl", "new.jsonl"]).report.parent.name


def test_two_reports_are_compared_row_by_row_where_the_rows_are_the_same() -> None:
    first, second, third = evaluated(set(range(10))), evaluated(set(range(2, 25))), evaluated({1}, n=20)
    found = compare_reports(first, second)
    assert found["same_data"] and found["changed"] == {}
    rows = {row["model"]: row for row in found["rows"]}
    assert rows["new"]["change"] == {"diff": pytest.approx(13 / 30), "fixed": 15, "broken": 2,
                                     "ci": pytest.approx(list(paired_proportion_ci(15, 2, 30)))}  # fmt: skip
    assert rows["old"]["change"]["diff"] == 0
    assert found["verdicts"] == []  # better than the old in both
    other = compare_reports(first, third)
    assert not other["same_data"] and all(row["change"] is None for row in other["rows"])
    (verdict,) = other["verdicts"]
    assert (verdict["first"], verdict["second"]) == ("better", "inconclusive")
    json.dumps(found)


def test_a_report_is_a_workbook_with_verdicts_or_a_csv_in_either_encoding(home: Path) -> None:
    name = evaluated(set(range(20)), graders=["exact", "length:max=9"])
    assert write_report_table(name, "out.xlsx")["rows"] == 120
    book = openpyxl.load_workbook("out.xlsx")
    assert book.sheetnames == ["verdicts", "scores", "replies"]
    verdicts = list(book["verdicts"].iter_rows(values_only=True))
    assert verdicts[1][:4] == ("new", "old", "exact", "better")
    assert {row[-1] for row in book["scores"].iter_rows(min_row=2, values_only=True)} == {"content", "form alone"}
    replies = [cell for row in book["replies"].iter_rows() for cell in row]
    assert any(cell.value == "=wrong" for cell in replies) and all(cell.data_type != "f" for cell in replies)
    assert write_report_table(name, "u.csv")["replaced"] == 0
    assert Path("u.csv").read_bytes().startswith(b"\xef\xbb\xbf") and "'=wrong" in Path("u.csv").read_text("utf-8-sig")
    done = worker.run("reports", "table", name, "s.csv", "--encoding", "Shift_JIS", "--json", home=home)
    assert json.loads(done.out)["replaced"] == 0, done.err
    text = Path("s.csv").read_bytes().decode("cp932")
    assert len(list(csv.reader(io.StringIO(text)))) == 121 and "違う～－" in text
    for out, encoding, why in (("a.txt", "utf-8", "does not say"), ("a.csv", "latin-1", "latin-1")):
        with pytest.raises(UsageError, match=why):
            write_report_table(name, out, encoding=encoding)
    with pytest.raises(UsageError, match="no report"):
        write_report_table("../x", "a.csv")


def test_what_cp932_does_not_have_is_replaced_and_counted() -> None:
    write_rows(Path("h.jsonl"), [{"prompt": "q", "reference_answer": "a"}] * 2)
    write_rows(Path("r.jsonl"), [{"reply": "😀 한 𠮷"}, {"reply": "ok"}])
    name = sodate.evaluate([], "h.jsonl", "exact", replies="r.jsonl").report.parent.name
    assert write_report_table(name, "c.csv", encoding="cp932")["replaced"] > 2
    assert "〓 〓 〓" in Path("c.csv").read_bytes().decode("cp932")


def test_form_alone_earns_no_plain_mark_and_graders_that_disagree_are_told() -> None:
    n = 12
    write_rows(Path("h.jsonl"), [{"prompt": "q", "reference_answer": "yes"}] * n)
    write_rows(Path("o.jsonl"), [{"reply": "no"}] * n)
    write_rows(Path("r.jsonl"), [{"reply": "Yes!"}] * n)
    done = sodate.evaluate([], "h.jsonl", ["string_check:op=ilike", "exact", "regex:!"], replies=["o.jsonl", "r.jsonl"])
    assert done.result.at_odds("r") == list(range(n)) and done.result.at_odds("o") == []
    (said,) = done.remarks
    assert f"r: graders disagree on {n} rows" in said
    page = done.report.read_text("utf-8")
    assert "(✓) 1.00</span> regex:!" in page.replace("\n", "") and "✓ 1.00</span> string_check:op=ilike" in page
    assert "r is better than o, in form alone" in page
    handout = done.report.with_name("handout.html").read_text("utf-8")
    assert "in form alone (regex:!)" in handout and "graders disagree" in handout
    told = json.loads(done.report.with_name("result.json").read_text("utf-8"))
    assert told["at_odds"] == {"o": 0, "r": n}


def test_a_version_stands_beside_its_base_the_base_with_a_prompt_and_with_examples(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pairs = [{"prompt": f"p{n}", "completion": f"c{n}"} for n in range(9)]
    train = write_rows(Path("train.jsonl"), pairs)
    version = SimpleNamespace(id="orders@1", manifest={"base": "seed@1", "recipe": {"data": [str(train)]}})
    monkeypatch.setattr(contestants, "find_version", lambda name: version if name == "orders" else None)
    monkeypatch.setattr(contestants, "is_known", lambda name: True)
    alone = field_of(["orders"], [], None)  # nobody else to compare it with
    assert [one.name for one in alone.contestants] == ["orders", "seed@1", "seed@1 + 3 shots"]
    assert alone.baselines == ["seed@1", "seed@1 + 3 shots"] and "its best prompt (--prompt" in alone.missing[0]
    for bare in (field_of(["orders"], [], None, baselines=False), field_of(["orders"], ["old"], "old")):
        assert [one.name for one in bare.contestants] == ["orders"]
        assert "its base model (seed@1), the base with its best prompt" in bare.missing[0]
        assert bare.missing[0].endswith("--baselines brings it.")
    named = field_of(["orders", "seed@1"], [], None, baselines=True)
    assert named.baselines == ["seed@1", "seed@1 + 3 shots"] and len(named.contestants) == 3
    whole = field_of(["orders"], [], None, prompt="Be brief.", baselines=True)
    assert [one.name for one in whole.contestants] == ["orders", "seed@1", "seed@1 + prompt", "seed@1 + 3 shots"]
    assert whole.baselines == ["seed@1", "seed@1 + prompt", "seed@1 + 3 shots"] and whole.missing == []
    asked = [Message("system", "own"), Message("user", "now")]
    _, base, prompted, shown = whole.contestants
    assert base.asked(asked) == asked
    assert [m.content for m in prompted.asked(asked)] == ["Be brief.", "now"]
    assert [m.content for m in shown.asked(asked)] == ["own", "p0", "c0", "p1", "c1", "p2", "c2", "now"]
    Path("prompt.txt").write_text("From a file.\n", "utf-8")
    assert field_of(["a"], [], "b", prompt="prompt.txt").contestants[1].system == "From a file."
    with pytest.raises(UsageError, match="empty"):
        field_of(["a"], [], None, prompt=" ")
    with pytest.raises(UsageError, match="--prompt needs a model"):
        field_of([], ["r"], None, prompt="x")
