"""Writes the generated parts of the documents again: python docs/generate.py (a test runs it with --check).

A part stands between `<!-- NAME:begin -->` and `<!-- NAME:end -->`; what is outside is written by hand. The pages in
Japanese are written by a second process: the command line chooses its help texts when it is imported.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

# Help texts are broken at the terminal's width.
os.environ.update(SODATE_LANG="ja" if "--ja" in sys.argv else "en", COLUMNS="100", NO_COLOR="1", TERM="dumb")

import typer
from typer.testing import CliRunner

from sodate.cli import app
from sodate.core.error_codes import CODES as ERROR_CODES
from sodate.core.text import tr
from sodate.data.codes import CODES
from sodate.data.columns import TARGETS
from sodate.data.formats import FORMATS
from sodate.grade import spec

DOCS = Path(__file__).parent
LANGUAGE = os.environ["SODATE_LANG"]

# Codes whose whole sentence is made where the row is read.
SPOKEN_ELSEWHERE = {
    "encoding": tr(
        "Not UTF-8: the encoding is named (Shift_JIS, EUC-JP, UTF-16, …), with the --encoding to give.",
        "UTF-8 ではありません。文字コード（Shift_JIS、EUC-JP、UTF-16 など）と、指定すべき --encoding を示します。",
    ),
    "role-order": tr(
        "A message stands where its role is unusual, such as two user messages in a row.",
        "user のメッセージが続くなど、役割の並びが普通ではありません。",
    ),
    "tool-ids": tr(
        "Ids do not say which call a tool message answers, or are numbers; how it was read is said.",
        "ID からは、ツールの応答がどの呼び出しのものか分かりません（または数値です）。どう読んだかを示します。",
    ),
    "tool-call-invalid": tr(
        "A tool call, its arguments or the answer to it do not fit together; the place is named.",
        "ツール呼び出し、その引数、または応答が合いません。場所を示します。",
    ),
}


def cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def codes() -> str:
    """Every code of the ledger, what it does to the row, and its sentence with … for what is filled in."""
    rows = [str(tr("| code | the row is | sentence |", "| コード | 行の扱い | 説明 |")), "|---|---|---|"]
    out, warned = str(tr("set aside", "除外")), str(tr("used, with a warning", "警告付きで使用"))
    for code, (severity, *sentences) in CODES.items():
        said = sentences[LANGUAGE == "ja"]
        sentence = str(SPOKEN_ELSEWHERE[code]) if said == "{0}" else re.sub(r"\{\d[^}]*\}", "…", said)
        sentence = sentence.replace("{{", "{").replace("}}", "}")
        rows.append(f"| `{code}` | {out if severity == 'set-aside' else warned} | {cell(sentence)} |")
    return "\n".join(rows)


def formats() -> str:
    rows = [str(tr("| format | a row of it |", "| 形式 | その 1 行 |")), "|---|---|"]
    rows += [f"| {form.name} | `{cell(form.shape)}` |" for form in FORMATS]
    targets = tr(", ", "、").join(f"`{target}`" for target in TARGETS)
    return "\n".join(
        [*rows, "", str(tr(f"Targets of `--columns`: {targets}.", f"`--columns` に書ける名前: {targets}"))]
    )


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
    head = str(tr("| code | says |", "| コード | 意味 |"))
    return "\n".join([head, "|---|---|", *(f"| `{code}` | {cell(str(says))} |" for code, says in ERROR_CODES.items())])


PARTS = {
    "en": {
        "errors.md": {"errors": errors},
        "data.md": {"formats": formats, "codes": codes},
        "cli.md": {"graders": graders, "help": help_texts},
    },
    "ja": {
        "errors.ja.md": {"errors": errors},
        "data.ja.md": {"formats": formats, "codes": codes},
        "cli.ja.md": {"help": help_texts},
    },
}


def main() -> int:
    stale = []
    for name, parts in PARTS[LANGUAGE].items():
        page = DOCS / name
        before = after = page.read_text("utf-8")
        for part, make in parts.items():
            begin, end = f"<!-- {part}:begin -->\n", f"<!-- {part}:end -->"
            assert after.count(begin) == after.count(end) == 1, f"{name} has no part {part}"
            head, _, rest = after.partition(begin)
            after = head + begin + make() + "\n" + end + rest.partition(end)[2]
        if after != before:
            stale.append(name)
            if "--check" not in sys.argv:
                page.write_text(after, "utf-8")
    if stale:
        print(f"{'Stale' if '--check' in sys.argv else 'Written'}: {', '.join(stale)}")
    found = bool(stale) and "--check" in sys.argv
    if LANGUAGE == "en":
        found |= bool(subprocess.run([sys.executable, __file__, *sys.argv[1:], "--ja"], check=False).returncode)
    return int(found)


if __name__ == "__main__":
    sys.exit(main())
