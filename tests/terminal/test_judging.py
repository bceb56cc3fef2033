"""What a person sees of a study: who was chosen more often, whether that is more than chance, who agrees with whom."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sodate.api.judged import judged
from sodate.api.people import make_sheets
from sodate.api.votes import import_sheet
from sodate.core.errors import UsageError
from sodate.terminal.judging import print_agreement, print_judged, print_made

ROWS = 12


@pytest.fixture(autouse=True)
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SODATE_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    Path("h.jsonl").write_text("".join(json.dumps({"prompt": f"q{n}"}) + "\n" for n in range(ROWS)))
    for name in ("old", "new"):
        Path(f"{name}.jsonl").write_text("".join(json.dumps({"reply": f"{name} {n}"}) + "\n" for n in range(ROWS)))


def test_a_study_is_drawn_with_its_winner_and_its_agreement(capsys: pytest.CaptureFixture[str]) -> None:
    made = make_sheets([], "h.jsonl", "s.csv", replies=["old.jsonl", "new.jsonl"], raters=2, overlap=1,
                       viewpoints=["correct", "polite"])  # fmt: skip
    for sheet in made["sheets"]:
        head, *lines = Path(sheet).read_text("utf-8-sig").splitlines()
        filled = [line.replace(",,", f",{'A' if line.split(',')[2].startswith('new') else 'B'},") for line in lines]
        Path(sheet).write_text("\n".join([head, *filled]), "utf-8")
        import_sheet(Path(sheet))
    print_made(made)
    found = judged(made["study"])
    print_judged(found)
    said = capsys.readouterr().out
    assert "s-1.csv" in said and f"{ROWS} rows, {ROWS} of them on every sheet" in said
    row = next(line for line in said.splitlines() if line.startswith("new"))
    assert row.split()[:7] == ["new", "12", "old", "0", "0", "0", "12"] and "preferred" in row
    assert "κ s-1, s-2: 1.00" in said and "Nobody has voted on this." in said


def test_an_agreement_says_whether_a_gate_believes_it(capsys: pytest.CaptureFixture[str]) -> None:
    record = {"grader": "[g]", "viewpoint": "correct", "n": 40, "agreed": 0.8, "kappa": 0.61, "kappa_ci": (0.4, 0.8)}
    print_agreement(record)
    assert "[g] chooses as people do (correct) in 80 % of 40" in (said := capsys.readouterr().out)
    assert "A gate believes it." in said
    print_agreement({**record, "kappa_ci": (-0.001, 0.8)})
    assert "A gate does not believe it" in (said := capsys.readouterr().out) and "[0.00, 0.80]" in said


@pytest.mark.parametrize("out", ["s.pdf", "sheet", "s.xls", "s.csv.gz"])
def test_a_sheet_is_not_written_under_a_name_of_another_form(out: str) -> None:
    with pytest.raises(UsageError, match=r"\.csv, \.xlsx, \.json"):
        make_sheets([], "h.jsonl", out, replies=["old.jsonl", "new.jsonl"])
    assert not Path(out).exists()
