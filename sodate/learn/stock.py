"""What a month of use came to, and which of its exchanges people have reviewed."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from sodate.core.errors import SodateError
from sodate.core.text import json_lines, tr


def take_stock(project: str | None, since: int) -> dict[str, Any] | None:
    """How many exchanges there were since a day (from 1970), how many failed by what shows and, by the fair share that
    people reviewed, how many truly did; what share was answered; the reasons. None without a project."""
    if project is None:
        return None
    from sodate.learn import failures

    found = failures.failures(project, limit=1, since=since)
    served = found["exchanges"]
    counts = {one["reason"]: one["count"] for one in found["reasons"]}
    return {
        "project": project, "since": since, "exchanges": served, "failed": found["failed"], "shown": found["shown"],
        "reviewed": found["reviewed"], "reasons": counts,
        "answered": 1 - counts.get("abstained", 0) / served if served else None, "dropped": found["dropped"],
    }  # fmt: skip


def reviewed_rows(project: str | None, into: Path | None) -> Iterator[dict[str, Any]]:
    """What reviewers accepted or corrected, as rows with where they come from.

    Written `into` a file first, where one is given: then it is noted where a person's words go.
    """
    if project is None:
        return
    from sodate.learn import examples

    if into is None:
        yield from examples.rows(project)
        return
    try:
        examples.write(into, project)
    except SodateError as error:
        if error.code != "no_rows":
            raise
        return
    for line in json_lines(into.read_text("utf-8")):
        yield json.loads(line)


def written_rows(files: Sequence[Path]) -> Iterator[dict[str, Any]]:
    """The rows of files that people wrote. SodateError names the line that is no JSON object."""
    for file in files:
        for number, line in enumerate(json_lines(_text(file)), 1):
            if line.strip():
                yield _row(file, number, line)


def _text(file: Path) -> str:
    try:
        return file.read_text("utf-8-sig")
    except UnicodeDecodeError:
        raise SodateError(
            tr(f"{file} is not UTF-8.", f"{file} は UTF-8 ではありません。"),
            tr("Save it again as UTF-8.", "UTF-8 で保存し直してください。"),
            code="encoding", param="new", file=file,
        ) from None  # fmt: skip


def _row(file: Path, number: int, line: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        row = None
    if not isinstance(row, dict):
        raise SodateError(
            tr(f"{file}:{number} is not a JSON object.", f"{file}:{number} は JSON オブジェクトではありません。"),
            code="damaged", param="new", file=file, line=number,
        )  # fmt: skip
    return row
