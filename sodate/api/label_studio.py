"""Label Studio: tasks to import there with the interface that labels them, and its exports read back.

Label Studio is a program of its own and is not needed here. A control is called v1, v2, … by viewpoint; where replies
are put in order there is one for the place of each, v1_A, v1_B, …, and one for "all bad", v1_all.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.sax.saxutils import quoteattr

from sodate.api import sheets, vote_words
from sodate.core import json_faults
from sodate.core.files import write_text
from sodate.core.paths import refusal
from sodate.core.text import en, ja, tr


def write(path: Path, rows: Sequence[tuple[str, str, Sequence[str]]], viewpoints: Sequence[str]) -> list[Path]:
    """Tasks to `path`, one a row of (id, prompt, replies), and the labelling interface beside it as .xml."""
    tasks = [
        {"data": {sheets.ID: one, "prompt": prompt, **dict(zip(vote_words.LETTERS, texts, strict=False))}}
        for one, prompt, texts in rows
    ]
    write_text(path, json.dumps(tasks, ensure_ascii=False, indent=1) + "\n")
    interface = path.with_suffix(".xml")
    write_text(interface, _interface(len(rows[0][2]) if rows else 2, viewpoints))
    return [path, interface]


def _interface(count: int, viewpoints: Sequence[str]) -> str:
    lines = ["<View>", '  <Text name="prompt" value="$prompt"/>']
    for letter in vote_words.LETTERS[:count]:
        lines += [f'  <Header value="{letter}"/>', f'  <Text name="{letter}" value="${letter}"/>']
    for number, viewpoint in enumerate(viewpoints, 1):
        lines.append(f"  <Header value={quoteattr(str(viewpoint))}/>")
        if count == 2:
            lines.append(_choices(f"v{number}", ("A", "B", "tie", "bad")))
            continue
        places = [str(place) for place in range(1, count + 1)]
        for letter in vote_words.LETTERS[:count]:
            lines += [f'  <Header size="5" value="{letter}"/>', _choices(f"v{number}_{letter}", places)]
        lines.append(_choices(f"v{number}_all", ("bad",)))
    return "\n".join([*lines, "</View>"]) + "\n"


def _choices(name: str, values: Sequence[str]) -> str:
    inner = "".join(f'<Choice value="{value}"/>' for value in values)
    return f'  <Choices name="{name}" toName="prompt" choice="single-radio" showInLine="true">{inner}</Choices>'


def read(
    path: Path, viewpoints: Sequence[str], counts: Mapping[str, int]
) -> dict[str, list[tuple[int, str, dict[str, str]]]]:
    """By rater, (number of the task from 1, row id, votes by viewpoint). SodateError for what is no export of tasks.

    `counts` says how many replies a row shows. A task that a rater skipped (an annotation that was cancelled) is a row
    without votes.
    """
    try:
        tasks = json.loads(path.read_text("utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        what = json_faults.said(error)
        raise sheets.wrong(path, None, tr(f"it is not JSON: {what.en}.", f"JSON として読めません: {what.ja}")) from None
    if not isinstance(tasks, list) or not all(isinstance(task, dict) for task in tasks):
        raise sheets.wrong(path, None, tr("it is not a list of tasks.", "タスクのリストではありません。"))
    found: dict[str, list[tuple[int, str, dict[str, str]]]] = {}
    raters = set[str]()  # who judged anything at all
    for number, task in enumerate(tasks, 1):
        data = task.get("data")
        one = str(data.get(sheets.ID, "")) if isinstance(data, dict) else ""
        given = [each for each in task.get("annotations") or task.get("completions") or () if isinstance(each, dict)]
        voted = {_rater(each.get("completed_by")) for each in given if not each.get("was_cancelled")}
        for annotation in given:
            rater, cells = _rater(annotation.get("completed_by")), dict[str, str]()
            if not annotation.get("was_cancelled"):
                cells = dict(_cells(annotation.get("result"), viewpoints, counts.get(one, 2)))
            elif rater in voted:  # skipped first, and judged later
                continue
            voted.add(rater)
            raters |= {rater} if cells else set()
            found.setdefault(rater, []).append((number, one, cells))
    return {rater: rows for rater, rows in found.items() if rater in raters}


def study_of(path: Path) -> str:
    """The study that an export is of: what the first task's id begins with. SodateError where there is none."""
    try:
        text = path.read_text("utf-8-sig", "replace")
    except OSError as error:
        why = refusal(error)
        raise sheets.wrong(path, None, tr(f"it cannot be read: {en(why)}.", f"読めません: {ja(why)}")) from None
    found = re.search(r'"id"\s*:\s*"([A-Za-z0-9]+)-\d+"', text)
    if found is None:
        raise sheets.wrong(path, None, tr("no task has the id of a row.", "行の id を持つタスクがありません。"))
    return found[1]


def _rater(given: Any) -> str:
    """Who annotated: the part of the address before the @, or the number."""
    if isinstance(given, dict):
        given = str(given.get("email") or given.get("id") or "").partition("@")[0]
    return (
        re.sub(r"[^A-Za-z0-9._-]+", "-", str(given if given is not None else "annotator")).strip("-._") or "annotator"
    )


def _cells(result: Any, viewpoints: Sequence[str], count: int) -> Iterator[tuple[str, str]]:
    """Votes as a rater would write them, by viewpoint."""
    chosen: dict[str, str] = {}
    for region in result if isinstance(result, list) else ():
        value = region.get("value") if isinstance(region, dict) else None
        if not isinstance(value, dict):
            continue
        if isinstance(value.get("choices"), list) and value["choices"]:
            chosen[str(region.get("from_name"))] = str(value["choices"][0])
        elif value.get("selected") in ("left", "right"):  # Label Studio's own template of pairs
            chosen["v1"] = "A" if value["selected"] == "left" else "B"
    for number, viewpoint in enumerate(viewpoints, 1):
        name = f"v{number}"
        if name in chosen:
            yield viewpoint, chosen[name]
        elif f"{name}_all" in chosen:
            yield viewpoint, "bad"
        elif any(key.startswith(f"{name}_") for key in chosen):
            yield viewpoint, " ".join(chosen.get(f"{name}_{letter}", "") for letter in vote_words.LETTERS[:count])
