"""The part of Go's text/template that our Modelfiles use, evaluated: actions with trimming, range, if, eq, gt, len,
slice, fields and string literals. An oracle that knows nothing of how the template came to be.
"""

from __future__ import annotations

import json
import re
from typing import Any

ACTION = re.compile(r"\{\{(-\s)?\s*(.*?)\s*(\s-)?\}\}", re.S)
WORD = re.compile(r'"(?:[^"\\]|\\.)*"|\(|\)|[^\s()]+')


def evaluate(source: str, messages: list[dict[str, str]]) -> str:
    """The text that the template makes of Ollama's `.Messages`."""
    parts: list[Any] = []
    at, trim = 0, False
    for found in ACTION.finditer(source):
        text = source[at : found.start()]
        text = text.lstrip() if trim else text
        parts.append(("text", text.rstrip() if found[1] else text))
        parts.append(("do", found[2]))
        at, trim = found.end(), bool(found[3])
    rest = source[at:]
    parts.append(("text", rest.lstrip() if trim else rest))
    out: list[str] = []
    _run(parts, 0, {"$": {"Messages": messages}, ".": {"Messages": messages}}, out, True)
    return "".join(out)


def _run(parts: list[Any], at: int, names: dict[str, Any], out: list[str], live: bool) -> int:
    """Runs up to the `end` or `else` that closes this block; returns its place."""
    while at < len(parts):
        kind, what = parts[at]
        if kind == "text":
            out.append(what if live else "")
        elif what.startswith("range"):
            first, second, source = re.fullmatch(r"range (\$\w+), (\$\w+) := (\S+)", what).groups()  # type: ignore[union-attr]
            end = _run(parts, at + 1, names, [], False)
            for index, one in enumerate(_value([source], names) if live else ()):
                _run(parts, at + 1, {**names, first: index, second: one, ".": one}, out, True)
            at = end
        elif what.startswith("if "):
            at = _branches(parts, at, what[3:], names, out, live)
        elif what == "end" or what.startswith("else"):
            return at
        else:
            out.append(str(_value(WORD.findall(what), names)) if live else "")
        at += 1
    return at


def _branches(parts: list[Any], at: int, asked: str, names: dict[str, Any], out: list[str], live: bool) -> int:
    done = False
    while True:
        chosen = live and not done and (not asked or bool(_value(WORD.findall(asked), names)))
        at = _run(parts, at + 1, names, out, chosen)
        done = done or chosen
        if parts[at][1] == "end":
            return at
        asked = parts[at][1].removeprefix("else").strip().removeprefix("if ")


def _value(words: list[str], names: dict[str, Any]) -> Any:
    values, rest = [], list(words)
    function = rest.pop(0) if rest[0] in ("eq", "gt", "len", "slice") else None
    while rest:
        word = rest.pop(0)
        if word == "(":
            depth, inner = 1, []
            while depth:
                inner.append(rest.pop(0))
                depth += {"(": 1, ")": -1}.get(inner[-1], 0)
            values.append(_value(inner[:-1], names))
        elif word.startswith('"'):
            values.append(json.loads(word))
        elif word.isdigit():
            values.append(int(word))
        else:
            head, *fields = word.split(".")
            value = names[head or "."]
            for field in fields:
                value = value[field]
            values.append(value)
    if function == "eq":
        return values[0] == values[1]
    if function == "gt":
        return values[0] > values[1]
    if function == "len":
        return len(values[0])
    return values[0][values[1] :] if function == "slice" else values[0]
