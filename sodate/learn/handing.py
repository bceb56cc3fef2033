"""Exchanges handed out for review, and decisions as they come back: JSON lines, CSV or xlsx, Label Studio's JSON."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sodate.api import sheets
from sodate.core.errors import SodateError, UsageError
from sodate.core.files import write_text
from sodate.core.paths import refusal
from sodate.core.text import en, ja, json_lines, json_text, tr
from sodate.learn import review
from sodate.learn.review import DECISIONS, Decision

COLUMNS = ("id", "question", "reply", "reasons", "proposal", "decision", "correction", "note", "drawn")
FORMS = (".jsonl", ".csv", ".xlsx", ".json")
# How people write a decision in a sheet.
_SPELT: Mapping[str, Decision] = {
    **{decision: decision for decision in DECISIONS},
    "ok": "accept", "yes": "accept", "○": "accept", "採用": "accept", "承認": "accept", "良い": "accept",
    "edit": "correct", "fix": "correct", "修正": "correct", "訂正": "correct",
    "no": "reject", "×": "reject", "却下": "reject", "不可": "reject", "悪い": "reject",
    "both bad": "both_bad", "bad": "both_bad", "両方不可": "both_bad", "どちらも悪い": "both_bad",
    "?": "skip", "保留": "skip", "スキップ": "skip",
}  # fmt: skip


def export(items: Sequence[Mapping[str, Any]], out: str | Path) -> dict[str, Any]:
    """Writes what comes next for review: .csv and .xlsx as sheets, .json for Label Studio, .jsonl as JSON lines.

    In a sheet a reviewer fills in `decision`, and `correction` where the reply is corrected. UsageError for another
    ending.
    """
    path = Path(out)
    kind = _form(path)
    if kind in (".csv", ".xlsx"):
        sheets.write(path, COLUMNS, [_cells(item) for item in items])
    elif kind == ".json":
        write_text(path, json_text([_task(item) for item in items], indent=1) + "\n")
    else:
        write_text(path, "".join(json_text({**item, "decision": None, "correction": None}) + "\n" for item in items))
    return {"file": str(path.absolute()), "rows": len(items)}


def import_decisions(file: str | Path, reviewer: str, project: str = "default") -> dict[str, Any]:
    """Takes decisions from a file that `export` wrote and people filled in. All rows are read before any is kept.

    A row without a decision is left. `gone` are rows whose exchange is not there any more.
    """
    path = Path(file)
    rows = _read(path)
    decided = [(line, row, _decision(path, line, row, reviewer)) for line, row in rows]
    _once(path, decided, reviewer)
    kept, gone, left = 0, 0, 0
    for line, row, decision in decided:
        if decision is None:
            left += 1
            continue
        try:
            review.decide(
                str(row["id"]), row.get("reviewer") or reviewer, decision, correction=_corrected(row, decision),
                note=row.get("note") or None, proposed_by=row.get("proposed_by") or None,
                drawn=row.get("drawn") or "import", project=project,
            )  # fmt: skip
            kept += 1
        except SodateError as error:
            if error.code != "not_found":
                raise sheets.wrong(path, line, str(error.message)) from None
            gone += 1
    return {"file": str(path.absolute()), "decisions": kept, "undecided": left, "gone": gone}


def _form(path: Path) -> str:
    kind = path.suffix.lower()
    if kind not in FORMS:
        raise UsageError(
            tr(f"{path} would have to end in {', '.join(FORMS)}.",
               f"{path} の拡張子は {'、'.join(FORMS)} のどれかにしてください。"),
            code="unknown_format", param="out", file=path,
        )  # fmt: skip
    return kind


def _cells(item: Mapping[str, Any]) -> list[str]:
    reasons = ", ".join(one["reason"] for one in item["reasons"])
    return [item["id"], item["question"], item["reply"], reasons, item.get("proposal") or "", "", "", "", item["drawn"]]


def _task(item: Mapping[str, Any]) -> dict[str, Any]:
    """A task of Label Studio; docs/loop.md has the labelling interface for it."""
    data = {
        "id": item["id"], "drawn": item["drawn"], "question": item["question"], "reply": item["reply"],
        "reasons": ", ".join(one["reason"] for one in item["reasons"]), "version": item["version"],
        "messages": [{"author": one["role"], "text": one["content"] or ""} for one in item["messages"]],
    }  # fmt: skip
    if not item.get("proposal"):
        return {"data": data}
    return {"data": data, "predictions": [{"model_version": item["proposed_by"], "result": [
        _choice("correct"), {"from_name": "correction", "to_name": "reply", "type": "textarea",
                             "value": {"text": [item["proposal"]]}}]}]}  # fmt: skip


def _choice(decision: str) -> dict[str, Any]:
    return {"from_name": "decision", "to_name": "reply", "type": "choices", "value": {"choices": [decision]}}


def _read(path: Path) -> list[tuple[int, dict[str, Any]]]:
    """(line or number of the row, its columns) of every row."""
    kind = path.suffix.lower()
    if kind in (".csv", ".xlsx"):
        return [(line, dict(row)) for line, row in sheets.read(path)]
    try:
        text = path.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        why = refusal(error)
        raise sheets.wrong(path, None, tr(f"it cannot be read: {en(why)}.", f"読めません: {ja(why)}")) from None
    if kind == ".json":
        return _annotated(path, _json(path, None, text))
    lines = [(number, line) for number, line in enumerate(json_lines(text), 1) if line.strip()]
    return [(number, _row(path, number, _json(path, number, line))) for number, line in lines]


def _json(path: Path, line: int | None, text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise sheets.wrong(path, line, tr("this is not JSON.", "JSON として読めません。")) from None


def _row(path: Path, line: int, row: Any) -> dict[str, Any]:
    if not isinstance(row, dict) or not isinstance(row.get("id"), str):
        raise sheets.wrong(path, line, tr("there is no id.", "id がありません。"))
    return row


def _annotated(path: Path, tasks: Any) -> list[tuple[int, dict[str, Any]]]:
    """The rows of Label Studio's export: one for each annotation."""
    found: list[tuple[int, dict[str, Any]]] = []
    for number, task in enumerate(tasks if isinstance(tasks, list) else [tasks], 1):
        data = _row(path, number, task.get("data") if isinstance(task, dict) else None)
        annotations = task.get("annotations") or []
        for annotation in annotations if isinstance(annotations, list) else []:
            if not isinstance(annotation, dict) or annotation.get("was_cancelled"):
                continue
            row = {"id": data["id"], "drawn": data.get("drawn"), "reviewer": _who(annotation.get("completed_by"))}
            for one in _list(path, number, annotation.get("result")):
                value = one.get("value") if isinstance(one, dict) else None
                if not isinstance(value, dict):
                    raise sheets.wrong(path, number, tr("a result has no value.", "value のない result があります。"))
                if one.get("from_name") == "decision":
                    row["decision"] = next(iter(_list(path, number, value.get("choices"))), None)
                elif one.get("from_name") in ("correction", "note"):
                    row[one["from_name"]] = "\n".join(str(text) for text in _list(path, number, value.get("text")))
            found.append((number, row))
    return found


def _list(path: Path, number: int, value: Any) -> list[Any]:
    """Label Studio writes one text or choice as it is, more of them as a list."""
    if value is None or isinstance(value, str):
        return [value] if value else []
    if not isinstance(value, list):
        raise sheets.wrong(path, number, tr(f"{value!r} is not a list.", f"{value!r} はリストではありません。"))
    return value


def _who(completed_by: Any) -> str | None:
    if isinstance(completed_by, dict):
        return str(completed_by.get("email") or completed_by.get("id") or "") or None
    return f"label-studio-{completed_by}" if completed_by is not None else None


def _once(path: Path, decided: Sequence[tuple[int, Mapping[str, Any], Decision | None]], reviewer: str) -> None:
    """Refuses a file in which one reviewer decides one exchange in two ways: nobody knows which is meant."""
    said: dict[tuple[str, str], tuple[Decision, str | None]] = {}
    for line, row, decision in decided:
        if decision is None:
            continue
        own = (decision, _corrected(row, decision))
        if said.setdefault((row["id"], row.get("reviewer") or reviewer), own) != own:
            raise sheets.wrong(path, line, tr(f"{row['id']} is decided twice, in two ways.",
                                              f"{row['id']} に異なる判定が 2 つあります。"))  # fmt: skip


def _corrected(row: Mapping[str, Any], decision: Decision) -> str | None:
    return row.get("correction") if decision == "correct" else None


def _decision(path: Path, line: int, row: Mapping[str, Any], reviewer: str) -> Decision | None:
    """What the row decides, if `review.decide` takes it as it stands."""
    for key in ("reviewer", "correction", "note", "proposed_by", "drawn"):
        if row.get(key) is not None and not isinstance(row[key], str):
            raise sheets.wrong(path, line, tr(f"{key} is not a text.", f"{key} が文字列ではありません。"))
    given = row.get("decision")
    text = " ".join(unicodedata.normalize("NFKC", str(given or "")).split()).lower()
    if not text:
        return None
    if text not in _SPELT:
        raise sheets.wrong(path, line, tr(f"{given!r} is no decision: {', '.join(DECISIONS)}.",
                                          f"{given!r} は判定ではありません: {', '.join(DECISIONS)}"))  # fmt: skip
    decision = _SPELT[text]
    if decision == "correct" and not str(row.get("correction") or "").strip():
        raise sheets.wrong(path, line, tr("the correction is missing.", "修正した返答がありません。"))
    try:
        review.check(row.get("reviewer") or reviewer, decision, _corrected(row, decision), row.get("note"))
    except UsageError as error:
        raise sheets.wrong(path, line, str(error.message)) from None
    return decision
