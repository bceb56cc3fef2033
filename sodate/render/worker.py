"""The process that renders templates for `sodate/render/isolated.py`: a request a line, an answer a line, in JSON."""

from __future__ import annotations

import datetime
import json
import resource
import sys
from pathlib import Path
from typing import Any

from sodate.core.text import en, ja
from sodate.render import template


def main() -> None:
    pages = int(Path("/proc/self/statm").read_text().split()[0]) if Path("/proc/self/statm").exists() else 0
    space = pages * resource.getpagesize() + int(sys.argv[1])
    resource.setrlimit(resource.RLIMIT_AS, (space, space))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    out, sys.stdout = sys.stdout, sys.stderr
    _say(out, {})
    for line in sys.stdin.buffer:
        _say(out, _rendered(json.loads(line)))


def _rendered(request: dict[str, Any]) -> dict[str, Any]:
    for name, value in request["limits"].items():
        setattr(template, name, value)
    used = resource.getrusage(resource.RUSAGE_SELF)
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    soon = int(used.ru_utime + used.ru_stime + template.MAX_SECONDS) + 2  # whole seconds; the parent is more exact
    resource.setrlimit(resource.RLIMIT_CPU, (soon, hard))
    date = datetime.date.fromisoformat(request["date"]) if request["date"] else None
    try:
        render = template.compile_here(request["source"])
        return {"text": "" if request["variables"] is None else render(date, **request["variables"])}
    except template.TemplateError as error:
        return {"refused": [en(error.message), ja(error.message)]}


def _say(out: Any, answer: dict[str, Any]) -> None:
    out.write(json.dumps(answer) + "\n")
    out.flush()


if __name__ == "__main__":
    main()
