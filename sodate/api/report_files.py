"""A report as a file for colleagues, and two of them row by row."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sodate.api import sheets
from sodate.core.intervals import paired_proportion_ci
from sodate.core.text import json_lines, tr
from sodate.evaluate import stats
from sodate.evaluate.run import PASS, VERDICT_JA, display_name

Scores = dict[tuple[str, str], list[float]]
"""By model and grader, the score of every row."""


def write_table(folder: Path, about: Mapping[str, Any], out: Path, encoding: sheets.Encoding) -> dict[str, Any]:
    """Writes a report's graded replies to `out`: .csv with them alone, .xlsx with verdicts and means on sheets of their
    own before them. `replaced` counts characters that CP932 does not have."""
    text = (folder / "rows.csv").read_text("utf-8-sig") if (folder / "rows.csv").exists() else ""
    rows = [[sheets.plain(cell) for cell in row] for row in csv.reader(io.StringIO(text, newline=""))]
    header = rows[0] if rows else []
    if out.suffix.lower() == ".xlsx":
        sheets.write_book(out, {
            str(tr("verdicts", "判定")): _verdicts(about), str(tr("scores", "点数")): _means(about),
            str(tr("replies", "返答")): [header, *rows[1:]],
        })  # fmt: skip
        return {"file": str(out), "rows": max(0, len(rows) - 1), "replaced": 0}
    replaced = sheets.write(out, header, rows[1:], encoding)
    return {"file": str(out), "rows": max(0, len(rows) - 1), "replaced": replaced}


def _verdicts(about: Mapping[str, Any]) -> list[list[str]]:
    head = (tr("candidate", "候補"), tr("baseline", "比較の基準"), tr("grader", "採点"), tr("verdict", "判定"),
            tr("difference", "差"), tr("95 % from", "95% 下限"), tr("to", "95% 上限"), "p",
            tr("fixed", "新たに正解"), tr("broken", "新たに不正解"))  # fmt: skip
    lines = [
        [display_name(one["candidate"]), display_name(one["baseline"]), one["grader"],
         tr(one["verdict"], VERDICT_JA[one["verdict"]]), _points(one["diff"]), *_ends(one["ci"]), f"{one['p']:.4g}",
         one["fixed"], one["broken"]]
        for one in about.get("comparisons", ())
    ]  # fmt: skip
    return [[str(cell) for cell in line] for line in (head, *lines)]


def _means(about: Mapping[str, Any]) -> list[list[str]]:
    head = (tr("model", "モデル"), tr("grader", "採点"), tr("mean", "平均"), tr("95 % from", "95% 下限"),
            tr("to", "95% 上限"), "n", tr("looks at", "見るもの"))  # fmt: skip
    lines = [
        [display_name(row["model"]), row["grader"], _points(row["mean"]), *_ends(row["ci"]), about.get("n", ""),
         tr("form alone", "形式のみ") if row.get("form") else tr("content", "内容")]
        for row in about.get("results", ())
    ]  # fmt: skip
    return [[str(cell) for cell in line] for line in (head, *lines)]


def _points(value: float) -> str:
    return f"{100 * value:.1f}"


def _ends(ci: Any) -> list[str]:
    return [_points(ci[0]), _points(ci[1])] if ci else ["", ""]


# ── two reports ──────────────────────────────────────────────────────────────────────────────────────────────────────


def scores(folder: Path) -> Scores:
    """Every row's scores, as replies.jsonl has them; none for a report from before they were kept there."""
    path = folder / "replies.jsonl"
    found: Scores = {}
    for line in json_lines(path.read_text("utf-8")) if path.exists() else ():
        row = json.loads(line)
        for grader, score in (row.get("scores") or {}).items():
            found.setdefault((row["model"], grader), []).append(float(score))
    return found


def changed(before: list[float] | None, after: list[float] | None) -> dict[str, Any] | None:
    """What became of the same rows: the mean of the paired differences with its 95 % interval, rows fixed and broken.
    None where there are no scores of the same rows."""
    if not before or not after or len(before) != len(after):
        return None
    diffs = [new - old for old, new in zip(before, after, strict=True)]
    fixed = sum(old < PASS <= new for old, new in zip(before, after, strict=True))
    broken = sum(new < PASS <= old for old, new in zip(before, after, strict=True))
    binary = stats.is_binary(before + after) and len(diffs) > 1
    ci = paired_proportion_ci(fixed, broken, len(diffs)) if binary else stats.paired_interval(diffs)
    return {"diff": sum(diffs) / len(diffs), "ci": ci and list(ci), "fixed": fixed, "broken": broken}
