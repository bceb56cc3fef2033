"""Writes the generated parts of the documents again: python docs/generate.py (a test runs it with --check).

A part stands between `<!-- NAME:begin -->` and `<!-- NAME:end -->`; what is outside is written by hand.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

# The help texts are chosen when the command line is imported, and broken at the terminal's width.
os.environ.update(SODATE_LANG="en", COLUMNS="100", NO_COLOR="1", TERM="dumb")

import typer
from typer.testing import CliRunner

from sodate.cli import app
from sodate.core.errors import CODES as ERROR_CODES
from sodate.data.columns import TARGETS
from sodate.data.formats import FORMATS
from sodate.data.ledger import CODES
from sodate.grade import spec

DOCS = Path(__file__).parent

# Codes whose whole sentence is made where the row is read.
SPOKEN_ELSEWHERE = {
    "encoding": "Not UTF-8: the encoding is named (Shift_JIS, EUC-JP, UTF-16, …), with the --encoding to give.",
    "role-order": "A message stands where its role is unusual, such as two user messages in a row.",
    "tool-ids": "Ids do not say which call a tool message answers, or are numbers; how it was read is said.",
    "tool-call-invalid": "A tool call, its arguments or the answer to it do not fit together; the place is named.",
}


def cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def codes() -> str:
    """Every code of the ledger, what it does to the row, and its sentence with … for what is filled in."""
    rows = ["| code | the row is | sentence |", "|---|---|---|"]
    for code, (severity, en, _) in CODES.items():
        sentence = SPOKEN_ELSEWHERE[code] if en == "{0}" else re.sub(r"\{\d[^}]*\}", "…", en).replace("{{", "{")
        fate = "set aside" if severity == "set-aside" else "used, with a warning"
        rows.append(f"| `{code}` | {fate} | {cell(sentence.replace('}}', '}'))} |")
    return "\n".join(rows)


def formats() -> str:
    rows = ["| format | a row of it |", "|---|---|"]
    rows += [f"| {form.name} | `{cell(form.shape)}` |" for form in FORMATS]
    return "\n".join([*rows, "", f"Targets of `--columns`: {', '.join(f'`{target}`' for target in TARGETS)}."])


def graders() -> str:
    return "```text\n" + (spec.__doc__ or "").partition("\n\n")[2].rstrip() + "\n```"


def verbs(command: typer.core.TyperGroup, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Paths of all commands that do something."""
    for name, child in command.commands.items():
        if isinstance(child, typer.core.TyperGroup):
            yield from verbs(child, (*path, name))
        else:
            yield (*path, name)


def help_texts() -> str:
    runner = CliRunner()
    root = typer.main.get_command(app)
    assert isinstance(root, typer.core.TyperGroup)
    parts = []
    for path in verbs(root):
        done = runner.invoke(app, [*path, "--help"], prog_name="sodate")
        text = "\n".join(line.rstrip() for line in done.stdout.strip().splitlines())
        parts.append(f"## sodate {' '.join(path)}\n\n```text\n{text}\n```")
    return "\n\n".join(parts)


def errors() -> str:
    return "\n".join(
        ["| code | says |", "|---|---|", *(f"| `{code}` | {cell(says)} |" for code, says in ERROR_CODES.items())]
    )


PARTS = {
    "errors.md": {"errors": errors},
    "data.md": {"formats": formats, "codes": codes},
    "cli.md": {"graders": graders, "help": help_texts},
}


def main() -> int:
    stale = []
    for name, parts in PARTS.items():
        page = DOCS / name
        before = after = page.read_text("utf-8")
        for part, make in parts.items():
            begin, end = f"<!-- {part}:begin -->\n", f"\n<!-- {part}:end -->"
            assert after.count(begin) == after.count(end) == 1, f"{name} has no part {part}"
            head, _, rest = after.partition(begin)
            after = head + begin + make() + end + rest.partition(end)[2]
        if after != before:
            stale.append(name)
            if "--check" not in sys.argv:
                page.write_text(after, "utf-8")
    if stale:
        print(f"{'Stale' if '--check' in sys.argv else 'Written'}: {', '.join(stale)}")
    return 1 if stale and "--check" in sys.argv else 0


if __name__ == "__main__":
    sys.exit(main())
