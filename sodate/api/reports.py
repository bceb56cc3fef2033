"""Reports: which there are, what one says, and two of them side by side."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from sodate.api import report_files, sheets
from sodate.core import home
from sodate.core.errors import SodateError, UsageError
from sodate.core.manifests import ResultManifest, read_kept
from sodate.core.text import en, ja, tr
from sodate.evaluate.run import PASS, display_name

FLIPS = ("fixed", "broken", "wrong", "right")
_COLUMNS = ("place", "model", "grader", "score", "reason", "reply", "reference", "prompt")  # of rows.csv


def reports() -> list[dict[str, Any]]:
    """Every report, oldest first: models, rows, graders, and the verdicts that it came to."""
    found = []
    for name, about in _results():
        data = about.get("data") or {}
        found.append({
            "report": name,
            "created_at": _time(name),
            "models": list(dict.fromkeys(row["model"] for row in about.get("results", ()))),
            "graders": list(dict.fromkeys(row["grader"] for row in about.get("results", ()))),
            "n": about.get("n"),
            "data": Path(data["file"]).name if data.get("file") else None,
            "verdicts": [one["verdict"] for one in about.get("comparisons", ())],
        })  # fmt: skip
    return found


def report(name: str) -> dict[str, Any]:
    """The result of a report, as `eval --json` printed it, with its name and page."""
    folder = _folder(name)
    about = dict(read_kept(folder / "result.json"))
    about.pop("schema_version", None)
    return {"report": name, "created_at": _time(name), "page": str(folder / "report.html"), **about}


def page(name: str) -> Path:
    """The file of a report's own page."""
    return _folder(name) / "report.html"


def flips(
    name: str, candidate: str, baseline: str, grader: str, kind: str, first: int = 0, count: int = 20
) -> dict[str, Any]:
    """The rows that a candidate mended (`fixed`), spoiled (`broken`), or that both have `wrong` or `right`.

    `total` of them, and `count` from the number `first` on, each with prompt, reference and both replies.
    """
    if kind not in FLIPS:
        raise UsageError(
            tr(f"{kind!r} is none of {', '.join(FLIPS)}.", f"{kind!r} は {', '.join(FLIPS)} のいずれでもありません。"),
            code="bad_value", param="kind",
        )  # fmt: skip
    path = _folder(name) / "rows.csv"
    if not path.exists():
        return {"report": name, "kind": kind, "total": 0, "rows": []}
    rows = _graded(path, path.stat().st_mtime_ns)
    found = []
    for place in dict.fromkeys(place for place, _, of in rows if of == grader):
        old, new = _row(rows, place, baseline, grader), _row(rows, place, candidate, grader)
        if old is None or new is None:
            continue
        was, now = (_score(row) >= PASS for row in (old, new))
        if kind == {(False, True): "fixed", (True, False): "broken", (False, False): "wrong"}.get((was, now), "right"):
            found.append({"where": place, "prompt": new.get("prompt", ""), "reference": new["reference"],
                          "baseline": _side(old), "candidate": _side(new)})  # fmt: skip
    return {"report": name, "candidate": candidate, "baseline": baseline, "grader": grader, "kind": kind,
            "total": len(found), "rows": found[first : first + count]}  # fmt: skip


def compare_reports(first: str, second: str) -> dict[str, Any]:
    """What both reports measured, side by side: of every grader and model the two means with their intervals, and of
    the same rows what became of them (`change`, paired). `verdicts` are those that are not in both, or not the same.

    `same_data` says whether the held-out rows are the same; otherwise the figures can't be compared, and nothing is
    paired. `changed` names what else differs: the exact bytes behind a name, the code, the index.
    """
    one, two = report(first), report(second)
    sides = [{(row["model"], row["grader"]): row for row in about["results"]} for about in (one, two)]
    keys = list(dict.fromkeys([*sides[0], *sides[1]]))
    digests = [(about.get("data") or {}).get("sha256") for about in (one, two)]
    limits = [(about.get("data") or {}).get("limit") for about in (one, two)]
    same = digests[0] is not None and digests[0] == digests[1] and limits[0] == limits[1]
    scored = [report_files.scores(_folder(name)) if same else {} for name in (first, second)]
    return {
        "reports": [first, second],
        "same_data": same,
        "rows": [
            {"model": model, "grader": grader, "first": _mean(sides[0].get((model, grader))),
             "second": _mean(sides[1].get((model, grader))),
             "change": report_files.changed(*(side.get((model, grader)) for side in scored))}
            for model, grader in keys
        ],
        "verdicts": _verdicts(one, two),
        "changed": _changed(one, two),
    }  # fmt: skip


def _verdicts(one: Mapping[str, Any], two: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Comparisons whose verdict is another in the second report; None where one of them has none."""
    key = ("candidate", "baseline", "grader")
    sides = [{tuple(c[k] for k in key): c["verdict"] for c in about.get("comparisons", ())} for about in (one, two)]
    return [
        {**dict(zip(key, which, strict=True)), "first": sides[0].get(which), "second": sides[1].get(which)}
        for which in dict.fromkeys([*sides[0], *sides[1]])
        if sides[0].get(which) != sides[1].get(which)
    ]


def _changed(one: Mapping[str, Any], two: Mapping[str, Any]) -> dict[str, list[Any]]:
    """What differs that both name: what a model's name stood for, and the code."""
    found = {}
    for model in one.get("bytes") or {}:
        exact = [about.get("bytes", {}).get(model) for about in (one, two)]
        if exact[1] is not None and exact[0] != exact[1]:
            found[model] = [about.get("measured", {}).get(model) for about in (one, two)]
    for name in ("code", "seed", "margin"):
        if one.get(name) != two.get(name):
            found[name] = [one.get(name), two.get(name)]
    return found


def write_report_table(name: str, out: str | Path, *, encoding: str = "utf-8") -> dict[str, Any]:
    """Writes the graded replies of a report to `out`, .csv (in UTF-8 with its mark, or CP932) or .xlsx, which has
    verdicts and means on sheets of their own. UsageError for no such report, file or encoding."""
    folder, target = _folder(name), Path(out)
    sheets.check_ending(target)
    about = read_kept(folder / "result.json")
    return {"report": name, **report_files.write_table(folder, about, target, sheets.named(encoding))}


def measured(version: str) -> list[dict[str, Any]]:
    """How good a version was found, by grader, in the newest report of each: mean, interval, rows, report."""
    return every_measured().get(version, [])


def every_measured() -> dict[str, list[dict[str, Any]]]:
    """The same of every version that a report is about."""
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for report, about in reversed(_results()):
        exact = about.get("measured") or {}
        for row in about.get("results", ()):
            if (version := exact.get(row["model"])) is not None:
                found.setdefault(version, {}).setdefault(row["grader"], {
                    "grader": row["grader"], "mean": row["mean"], "ci": row["ci"], "n": about.get("n"),
                    "report": report,
                })  # fmt: skip
    return {version: list(by_grader.values()) for version, by_grader in found.items()}


def _results() -> list[tuple[str, ResultManifest]]:
    """Every report's name and result, oldest first."""
    root = home.reports_dir()
    found = []
    for name in sorted(os.listdir(root)) if root.exists() else []:  # noqa: PTH208
        try:
            found.append((name, read_kept(f"{root}/{name}/result.json")))
        except NotADirectoryError:
            continue
        except SodateError as error:
            if error.code != "file_missing":
                raise
    return found


def _folder(name: str) -> Path:
    path = home.reports_dir() / name if home.NAME.fullmatch(name) else None
    if path is None or not (path / "result.json").exists():
        raise UsageError(
            tr(f"There is no report {name!r}.", f"レポート {name!r} はありません。"),
            "sodate reports list",
            code="report_not_found", param="report",
        )  # fmt: skip
    return path


def _time(name: str) -> str | None:
    """When a report was made, which its name tells: `20260131-091500-3c4d`."""
    day, _, rest = name.partition("-")
    if len(day) != 8 or not (day + rest[:6]).isdigit():
        return None
    return f"{day[:4]}-{day[4:6]}-{day[6:]}T{rest[:2]}:{rest[2:4]}:{rest[4:6]}+00:00"


def _mean(row: Mapping[str, Any] | None) -> dict[str, Any] | None:
    return None if row is None else {"mean": row["mean"], "ci": row["ci"]}


def _row(
    rows: Mapping[tuple[str, str, str], dict[str, str]], place: str, model: str, grader: str
) -> dict[str, str] | None:
    name = display_name(model)
    return rows.get((place, str(en(name)), grader)) or rows.get((place, str(ja(name)), grader))


def _side(row: Mapping[str, str]) -> dict[str, Any]:
    return {"reply": row["reply"], "score": _score(row), "reason": row.get("reason", "")}


def _score(row: Mapping[str, str]) -> float:
    try:
        return float(row["score"])
    except ValueError:
        return 0.0


@lru_cache(maxsize=4)
def _graded(path: Path, _time: int) -> dict[tuple[str, str, str], dict[str, str]]:
    """The rows of rows.csv by (place, model, grader). Its headings are in the language of whoever measured."""
    found = {}
    for row in list(csv.reader(io.StringIO(path.read_text("utf-8-sig"), newline="")))[1:]:
        cells = dict(zip(_COLUMNS, map(sheets.plain, row), strict=False))
        found[cells["place"], cells["model"], cells["grader"]] = cells
    return found
