"""People judge: what they see is blind, what they write is read as it comes, what they say is counted once."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from sodate.api.judged import judged
from sodate.api.people import make_sheets
from sodate.api.votes import import_sheet
from sodate.core.errors import SodateError, UsageError
from tests import worker
from tests.farm import write_rows

VIEWPOINTS = ["correct", "polite", "reproducible"]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SODATE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("SODATE_LANG", "en")
    return tmp_path / "home"


def study(tmp_path: Path, versions: int = 2, count: int = 40, **options: Any) -> dict[str, Any]:
    data = write_rows(tmp_path / "data.jsonl", [{"prompt": f"question {n}"} for n in range(count)])
    names = "abc"[:versions]
    for name in names:
        write_rows(tmp_path / f"{name}.jsonl", [{"reply": f"{name} says {n}"} for n in range(count)])
    given = [f"{tmp_path / name}.jsonl:{name}" for name in names]
    return make_sheets([], data, options.pop("out", tmp_path / "sheet.csv"), replies=given, **options)


def table(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8-sig", newline="") as handle:
        return list(csv.DictReader(handle))


def fill(path: Path, rows: list[dict[str, str]], encoding: str = "utf-8-sig") -> Path:
    with path.open("w", encoding=encoding, newline="") as handle:
        writer = csv.DictWriter(handle, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def prefer(row: dict[str, str], name: str) -> str:
    return "A" if row["A"].startswith(name) else "B"


def test_a_sheet_is_blind_on_random_sides_and_shares_a_fifth(tmp_path: Path) -> None:
    done = study(tmp_path, raters=2)
    assert (done["rows"], done["shared"], done["models"]) == (40, 8, ["a", "b"])
    first, second = (table(Path(path)) for path in done["sheets"])
    assert len(first) == len(second) == 8 + 16
    assert len({row["id"] for row in first} & {row["id"] for row in second}) == 8
    assert list(first[0]) == ["id", "prompt", "A", "B", *VIEWPOINTS]
    sides = [row["A"][0] for row in first + second]
    assert 10 < sides.count("a") < 38  # neither side is one version's
    assert {row["id"] for row in first + second} == {f"{done['study']}-{n}" for n in range(1, 41)}


def test_votes_come_back_and_are_counted_once_a_row(tmp_path: Path) -> None:
    done = study(tmp_path, raters=3, overlap=1.0)
    for n, path in enumerate(done["sheets"]):
        rows = table(Path(path))
        for row in rows:
            number = int(row["prompt"].split()[1])
            best = prefer(row, "b" if number < 30 else "a")
            row["correct"] = best if n < 2 else {"A": "B", "B": "A"}[best]  # the third is always of another mind
            row["polite"] = "同じ" if number % 2 else " ｂａｄ "
            row["reproducible"] = ""
        import_sheet(fill(tmp_path / f"rater{n}.csv", rows, "cp932" if n else "utf-8-sig"))
    found = judged(done["study"], preferences=tmp_path / "pairs.jsonl")
    correct, polite, reproducible = found["viewpoints"]
    (pair,) = correct["pairs"]
    assert pair["wins"] == {"a": 10, "b": 30} and pair["n"] == 40
    assert pair["p"] == pytest.approx(0.0022, abs=1e-4)  # 2 · P(at most 10 of 40 heads)
    assert correct["kappa"]["rater0, rater1"] == 1.0 and correct["kappa"]["rater0, rater2"] < 0
    assert correct["at_odds"] == ["rater2"] and correct["alpha"] < 1 and correct["alpha_ci"][0] <= correct["alpha"]
    assert polite["pairs"][0]["ties"] == 20 and polite["pairs"][0]["both_bad"] == 20 and polite["alpha"] == 1.0
    assert reproducible["pairs"] == [] and reproducible["alpha"] is None
    pairs = [json.loads(line) for line in (tmp_path / "pairs.jsonl").read_text().splitlines()]
    assert len(pairs) == 40
    by_prompt = {one["prompt"][0]["content"]: one for one in pairs}
    assert by_prompt["question 3"]["chosen"] == "b says 3" and by_prompt["question 35"]["chosen"] == "a says 35"
    assert by_prompt["question 3"]["origin"]["study"] == done["study"]


def test_three_versions_get_strengths(tmp_path: Path) -> None:
    done = study(tmp_path, versions=3, count=60)
    rows = table(Path(done["sheets"][0]))
    for row in rows:
        row["correct"] = "A" if row["A"] < row["B"] else "B"  # a before b before c, always
    import_sheet(fill(tmp_path / "one.csv", rows), by="aoki")
    found = judged(done["study"])
    assert found["raters"] == ["aoki"]
    strength = found["viewpoints"][0]["strength"]
    assert strength["a"]["value"] > strength["b"]["value"] > strength["c"]["value"]
    assert strength["a"]["ci"][0] > strength["c"]["ci"][1]


def test_a_sheet_that_is_not_as_it_was_made_is_refused_with_its_row(tmp_path: Path) -> None:
    done = study(tmp_path, count=10)
    rows = table(Path(done["sheets"][0]))

    def refused(changed: list[dict[str, str]], match: str) -> None:
        with pytest.raises(SodateError, match=match) as caught:
            import_sheet(fill(tmp_path / "back.csv", changed))
        assert caught.value.code == "bad_sheet"

    refused([*rows, rows[3]], rf"back\.csv:12: the row {rows[3]['id']} is there twice")
    refused(rows[1:], rf"1 row missing, such as {rows[0]['id']}")
    refused([*rows, {**rows[0], "id": f"{done['study']}-99"}], "there is no row")
    refused([{**rows[0], "correct": "both"}, *rows[1:]], r"back\.csv:2: under correct 'both' is not A, B, tie or bad")
    with pytest.raises(UsageError, match="no study") as unknown:
        import_sheet(fill(tmp_path / "back.csv", [{**rows[0], "id": "../../x-1"}]))
    assert unknown.value.code == "study_not_found"
    with pytest.raises(SodateError, match="Nobody has judged"):
        judged(done["study"])


def test_xlsx_comes_back_as_it_is_and_no_cell_is_a_formula(tmp_path: Path) -> None:
    import openpyxl

    data = write_rows(tmp_path / "data.jsonl", [{"prompt": "q"}, {"prompt": "r"}])
    write_rows(tmp_path / "a.jsonl", [{"reply": "=1+1"}, {"reply": "x"}])
    write_rows(tmp_path / "b.jsonl", [{"reply": "@b"}, {"reply": "y\u0007"}])
    given = [f"{tmp_path / name}.jsonl:{name}" for name in "ab"]
    made = make_sheets([], data, tmp_path / "s.xlsx", replies=given, viewpoints=["どちらが良い"])
    book = openpyxl.load_workbook(tmp_path / "s.xlsx")
    cells = [cell for row in book.active.iter_rows() for cell in row]
    assert {"=1+1", "@b"} <= {cell.value for cell in cells} and all(cell.data_type != "f" for cell in cells)
    for row in book.active.iter_rows(min_row=2):
        row[4].value = "A"
    book.save(tmp_path / "s.xlsx")
    assert import_sheet(tmp_path / "s.xlsx", by="aoki")["votes"] == 2
    assert import_sheet(tmp_path / "s.xlsx", by="青木 花子")["rater"] == "青木 花子"
    with pytest.raises(UsageError, match="not a usable name"):
        import_sheet(tmp_path / "s.xlsx", by="../x")
    assert judged(made["study"])["viewpoints"][0]["pairs"][0]["n"] == 2
    study_csv = make_sheets([], data, tmp_path / "s.csv", replies=given)
    assert {row[side] for row in table(Path(study_csv["sheets"][0])) for side in "AB"} >= {"'=1+1", "'@b"}
    (tmp_path / "bad.xlsx").write_bytes(b"no zip")
    with pytest.raises(SodateError, match="it is no xlsx file"):
        import_sheet(tmp_path / "bad.xlsx")


def test_the_commands_print_json(tmp_path: Path, home: Path) -> None:
    home.mkdir()
    data = write_rows(tmp_path / "data.jsonl", [{"prompt": "q"}] * 3)
    write_rows(tmp_path / "a.jsonl", [{"reply": "a"}] * 3)
    words = ["--data", str(data), "--replies", f"{tmp_path}/a.jsonl:one", "--replies", f"{tmp_path}/a.jsonl:two"]
    made = worker.run("judge", "make", *words, "--out", str(tmp_path / "s.csv"), "--json", home=home)
    assert made.code == 0, made.err
    back = worker.run("judge", "import", str(tmp_path / "s.csv"), "--by", "aoki", "--json", home=home)
    assert json.loads(back.out)["rows"] == 3, back.err
    told = worker.run("judge", "report", json.loads(made.out)["study"], "--json", home=home)
    assert {"study", "raters", "viewpoints"} <= set(json.loads(told.out))
