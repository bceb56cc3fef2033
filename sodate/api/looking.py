"""Rows of a file as a person reads them: turns with personal data marked, and what a model would be trained on."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from sodate.api.data import rows as as_the_model_sees
from sodate.data import pii
from sodate.data.check import Checked
from sodate.data.codes import CODES
from sodate.data.examples import ParsedRow, example_json, read_examples
from sodate.data.ledger import Problem

_LONGEST = 20_000  # characters of one text in which personal data is looked for
_NUMBER = re.compile(r"(\d+)(?!.*\d)")
_ALIKE = ("duplicate", "near-duplicate", "leak")


def look(file: str | Path, lines: Collection[int], model: str | None = None) -> list[dict[str, Any]]:
    """The rows on these lines: their `turns` in pieces, `personal` naming the kind of personal data; what is wrong with
    a row that can't be used; with `model`, the `sequences` it sees, whose pieces are `trained` or not.
    """
    found: dict[int, dict[str, Any]] = {}
    for row in read_examples(Path(file), None, None)[1]:
        line = row.row.line if isinstance(row, ParsedRow) else row.line
        if line > max(lines):
            break
        if line in lines:
            about = found.setdefault(line, {"line": line, "turns": [], "problems": [], "sequences": []})
            if isinstance(row, ParsedRow):
                about["turns"] = _turns(example_json(row.example))
            else:
                about["problems"].append({"code": row.code, "message": row.message})
    if model is not None and found:
        for shown in as_the_model_sees(file, set(found), model):
            found[shown.line]["sequences"] = [
                {"tokens": one.tokens, "trained": one.trained,
                 "pieces": [{"text": piece.text, "trained": piece.trained} for piece in one.pieces]}
                for one in shown.sequences
            ]  # fmt: skip
    return [found[line] for line in sorted(found)]


def checked(result: Checked, code: str = "", first: int = 0, count: int = 50) -> dict[str, Any]:
    """A check in figures, and the entries of its ledger with that code (or all), `count` from the number `first` on.

    `codes`: how many entries each has, what it means, and whether such rows are set aside. Of an entry about two rows
    that are alike, `other` is the line of the second.
    """
    ledger = result.ledger
    entries = [one for one in (*ledger.set_aside, *ledger.warnings) if not code or one.code == code]
    entries.sort(key=lambda one: one.line)
    return {
        "rows_in": ledger.rows_in, "rows_used": ledger.rows_used, "rows_aside": ledger.rows_aside,
        "format": result.format, "stats": result.stats,
        "codes": [{"code": name, "count": count, "severity": CODES[name].severity}
                  for name, count in ledger.counts.most_common()],
        "code": code, "total": len(entries), "first": first,
        "entries": [_entry(one) for one in entries[first : first + count]],
    }  # fmt: skip


def _entry(one: Problem) -> dict[str, Any]:
    other = _NUMBER.search(str(one.args[0])) if one.code in _ALIKE and one.args else None
    return {"line": one.line, "code": one.code, "severity": one.severity, "message": one.message,
            "other": int(other[1]) if other else None}  # fmt: skip


def _turns(example: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Every message of an example with its role; those of two replies are told apart by their roles' names."""
    turns = [_turn(one["role"], one) for one in example.get("messages") or example.get("prompt") or ()]
    for side in ("chosen", "rejected", "reply"):
        turns += [_turn(side, one) for one in example.get(side) or ()]
    for number, reply in enumerate(example.get("replies") or (), 1):
        turns += [_turn(f"reply {number}", one) for one in reply]
    return turns


def _turn(role: str, message: Mapping[str, Any]) -> dict[str, Any]:
    text = str(message["content"])
    pieces: list[dict[str, Any]] = []
    place = 0
    for one in pii.find(text[:_LONGEST]):
        if one.start > place:
            pieces.append({"text": text[place : one.start], "personal": None})
        pieces.append({"text": text[one.start : one.end], "personal": one.kind})
        place = one.end
    pieces.append({"text": text[place:], "personal": None})
    return {"role": role, "weight": message.get("weight"), "pieces": pieces}
