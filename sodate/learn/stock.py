"""What a month of use came to, and which of its exchanges people have reviewed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sodate.core.errors import SodateError
from sodate.core.text import json_lines


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
