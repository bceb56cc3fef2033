"""How a template itself writes tool calls, learnt from calls it renders, and read back from what models write.

A form is the text around a call's name and arguments, whatever the family: [TOOL_CALLS] before a JSON list, harmony's
channels, DeepSeek's marks, XML with a tag for each argument, Gemma's own quoting, or a call as Python writes it.
White space between marks may differ, since models are not exact about it.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from sodate.core import literals
from sodate.core.types import ToolCall
from sodate.render.toolcalls import Tools, as_call, names_of, tool_call

NAME, KEYS, VALUES = "zq_tool", ("zq_one", "zq_two"), ("zqva", "zqvb")
ARGUMENTS = dict(zip(KEYS, VALUES, strict=True))
IDS = ("zq1", "zq2")
NINE_IDS = ("zqid00001", "zqid00002")  # as Mistral's templates ask for them
_WORD = r"[\w.-]+"
_ID = "[A-Za-z0-9]+"
_LONGEST = 1_000_000  # characters of a reply that are read as calls
_decoder = json.JSONDecoder()

Read = tuple[str, list[ToolCall]]
Reader = Callable[[str, Tools], Read | None]
"""A reply's text → (content, calls), or None where it holds no call."""


def learn(one: str, two: str | None) -> Reader | None:
    """The reader of a form, from replies with one call of NAME with ARGUMENTS and with two such calls.

    `two` is None where the template writes one call a turn. None for a form that is not understood.
    """
    try:
        if "<|channel|>" in one and " to=" in one and "<|message|>" in one:
            return _channels()
        return _objects(one, two) or _apart(one, two) or _quoted(one, two) or _python(one) or _tagged(one, two)
    except (ValueError, IndexError):
        return None


# ── JSON objects that hold name and arguments ────────────────────────────────────────────────────────────────────


def _objects(one: str, two: str | None) -> Reader | None:
    found = [(at, end) for at, value, end in _values(one, "{") if _is_probe(as_call(value, 0))]
    if not found:
        return None
    start, end = found[0]
    mark = one[:start].strip().rstrip("[").rstrip()
    other = [one[end:].strip().lstrip("]").lstrip(), mark]
    if two is not None:
        places = [(at, stop) for at, value, stop in _values(two, "{") if _is_probe(as_call(value, 0))]
        other.append(two[places[0][1] : places[1][0]].strip() if len(places) > 1 else "")
    between = re.compile(rf"(?:[\s,;\[\]]|{_any(other)})*") if any(other) else re.compile(r"[\s,;\[\]]*")

    def read(text: str, tools: Tools) -> Read | None:
        at = text.find(mark) if mark else len(text) - len(text.lstrip())
        if at < 0 or len(text) > _LONGEST:
            return None
        calls: list[ToolCall] = []
        position = _end(between, text, at + len(mark))
        while position < len(text) and (value := _value(text, position)) is not None:
            call = as_call(value[0], len(calls))
            if call is None or (not mark and call.name not in names_of(tools)):
                return None
            calls.append(call)
            position = _end(between, text, value[1])
        return (text[:at].rstrip() + text[position:], _numbered(calls)) if calls else None

    return read


def _is_probe(call: ToolCall | None) -> bool:
    return call is not None and call.name == NAME and _loads(call.arguments) == ARGUMENTS


# ── a name, and arguments as JSON apart from it ──────────────────────────────────────────────────────────────────


def _apart(one: str, two: str | None) -> Reader | None:
    given = _json_arguments(one, 0)
    at = one.rfind(NAME, 0, given[0]) if given else -1
    if given is None or at < 0:
        return None
    head, tail = _mark(one[:at]), _mark(one[given[1] :])
    middle = _mark(one[at + len(NAME) : given[0]]).replace(_ID, f"(?P<id>{_ID})", 1)
    call = re.compile(rf"(?P<name>{_WORD}?){middle}(?=[{{\"])")
    between = tail
    if two is not None:
        first = _json_arguments(two, 0)
        second = _json_arguments(two, first[1]) if first else None
        again = two.rfind(NAME, first[1], second[0]) if first and second else -1
        if first is None or again < 0:
            return None
        between = _mark(two[first[1] : again])
    return _sequence(head, between, tail, call, lambda text, at, match, tools: _value(text, at))


def _json_arguments(text: str, start: int) -> tuple[int, int] | None:
    """Where ARGUMENTS stand as JSON (or as JSON in a JSON string), at `start` or later."""
    for at, value, end in _values(text, '{"', max(start, 0)):
        if (_loads(value) if isinstance(value, str) else value) == ARGUMENTS:
            return at, end
    return None


# ── harmony's channels ───────────────────────────────────────────────────────────────────────────────────────────


def _channels() -> Reader:
    """gpt-oss writes the recipient before the channel or after it, and says <|constrain|>json or json or neither."""
    head = re.compile(rf"\s*(?:<\|channel\|>\w+)?\s*to=(?:functions\.)?({_WORD})[^{{\[]*?<\|message\|>\s*")
    said = re.compile(r"^<\|channel\|>\w+<\|message\|>|<\|end\|>(?:<\|start\|>assistant)?")

    def read(text: str, tools: Tools) -> Read | None:
        match = head.search(text) if len(text) <= _LONGEST else None
        value = _value(text, match.end()) if match else None
        if match is None or value is None:
            return None
        return said.sub("", text[: match.start()]) + text[value[1] :], [tool_call(match[1], value[0], 0)]

    return read


# ── a tag for each argument ──────────────────────────────────────────────────────────────────────────────────────


def _tagged(one: str, two: str | None) -> Reader | None:
    parts = _parts(one)
    if parts is None:
        return None
    head, after_name, before_value, between_values, rest = parts
    key_mark = _common_end(after_name, between_values)
    value_end = between_values[: len(between_values) - len(key_mark)]
    if not value_end.strip() or not key_mark.strip() or not rest.startswith(value_end):
        return None
    name_end, tail = after_name[: len(after_name) - len(key_mark)], rest[len(value_end) :]
    between = tail
    if two is not None:
        again = _second_name(two)
        if again < 0:
            return None
        between = two[two.find(VALUES[1]) + len(VALUES[1]) + len(value_end) : again]
    call = re.compile(rf"(?P<name>{_WORD}?){_mark(name_end)}(?={_mark(key_mark)}|{_mark(tail)})")
    key = re.compile(rf"{_mark(key_mark)}(?P<key>[^<>\s=\"{{}}]+?){_mark(before_value.strip())}")
    space = before_value[len(before_value.rstrip()) :]

    def arguments(text: str, at: int, match: re.Match[str], tools: Tools) -> tuple[Any, int] | None:
        given: dict[str, Any] = {}
        properties = _properties(match["name"], tools)
        while (found := key.match(text, at)) is not None:
            begin = found.end() + (len(space) if text.startswith(space, found.end()) else 0)
            mark = value_end if value_end in text[begin:] else value_end.strip()
            end = text.find(mark, begin)
            if end < 0:
                return None
            given[found["key"]] = _typed(text[begin:end], properties.get(found["key"]))
            at = end + len(mark)
        return given, at

    return _sequence(_mark(head), _mark(between), _mark(tail), call, arguments)


def _parts(one: str) -> tuple[str, str, str, str, str] | None:
    """The texts before the name, between name and key, key and value, value and next key, and after the last value."""
    at, pieces = 0, []
    first_key = one.find(KEYS[0])
    for part in (NAME, KEYS[0], VALUES[0], KEYS[1], VALUES[1]):
        found = one.rfind(NAME, 0, max(first_key, 0)) if part == NAME else one.find(part, at)
        if found < 0:
            return None
        pieces.append(one[at:found])
        at = found + len(part)
    if pieces[2] != pieces[4]:
        return None
    return pieces[0], pieces[1], pieces[2], pieces[3], one[at:]


def _second_name(two: str) -> int:
    """Where the name of the second of two calls stands."""
    first_end = two.find(VALUES[1])
    return two.rfind(NAME, first_end, max(two.find(KEYS[0], first_end), 0))


def _properties(name: str, tools: Tools) -> Mapping[str, Any]:
    for tool in tools:
        about = tool.get("function", tool)
        schema = about.get("parameters") if about.get("name") == name else None
        properties = schema.get("properties") if isinstance(schema, Mapping) else None
        if isinstance(properties, Mapping):
            return properties
    return {}


def _typed(text: str, schema: Any) -> Any:
    """An argument written as plain text, in the type its tool's schema gives it: JSON where that is not text."""
    types = schema.get("type") if isinstance(schema, Mapping) else None
    if types == "string":
        return text
    python = {"True": True, "False": False, "None": None}
    if text in python and (types is not None or text != "None"):
        return python[text]
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return text
    return text if isinstance(value, str) else value


# ── Gemma's call:name{key:<escape>text<escape>} ──────────────────────────────────────────────────────────────────


def _quoted(one: str, two: str | None) -> Reader | None:
    parts = _parts(one)
    if parts is None or parts[1] != "{" or not parts[2].startswith(":") or len(parts[2]) < 2:
        return None
    head, _, colon, comma, rest = parts
    quote = colon[1:]
    if comma != f"{quote}," or not rest.startswith(quote + "}"):
        return None
    tail = between = _mark(rest[len(quote) + 1 :])
    if two is not None:
        again = _second_name(two)
        if again < 0:
            return None
        between = _mark(two[two.find(VALUES[1]) + len(VALUES[1]) + len(quote) + 1 : again])
    call = re.compile(rf"(?P<name>{_WORD})(?={{)")
    return _sequence(_mark(head), between, tail, call, lambda text, at, match, tools: _quoted_value(text, at, quote))


def _quoted_value(text: str, at: int, quote: str, deep: int = 0) -> tuple[Any, int] | None:
    """A value in which texts stand between `quote`s and keys without any; None where it is none."""
    if deep > 64:
        return None
    if text.startswith(quote, at):
        end = text.find(quote, at + len(quote))
        return (text[at + len(quote) : end], end + len(quote)) if end >= 0 else None
    if text[at : at + 1] in ("{", "["):
        mapping, closing = text[at] == "{", "}" if text[at] == "{" else "]"
        items: list[Any] = []
        at += 1
        while at < len(text) and text[at] != closing:
            key = ""
            if mapping:
                end = text.find(":", at)
                if end < 0:
                    return None
                key = text[at:end].strip().removeprefix(quote).removesuffix(quote)
                at = end + 1
            found = _quoted_value(text, at, quote, deep + 1)
            if found is None:
                return None
            items.append((key, found[0]) if mapping else found[0])
            at = found[1] + text.startswith(",", found[1])
        return (dict(items) if mapping else items, at + 1) if at < len(text) else None
    word = re.compile(r"[^,{}\[\]]+").match(text, at)
    return (_typed(word[0].strip(), {}), word.end()) if word else None


# ── a call as Python writes it ───────────────────────────────────────────────────────────────────────────────────


def _python(one: str) -> Reader | None:
    parts = _parts(one)
    if parts is None or parts[1] != "(" or parts[2][:-1] != "=" or parts[2][-1] not in "\"'":
        return None
    mark = parts[0].strip().removesuffix("[").rstrip()
    end_mark = parts[4][1:].strip().removeprefix(")").strip().removeprefix("]").strip()
    if not mark:
        return None

    def read(text: str, tools: Tools) -> Read | None:
        at = text.find(mark)
        if at < 0 or len(text) > _LONGEST:
            return None
        begin = at + len(mark)
        end = text.find(end_mark, begin) if end_mark else len(text)
        body = text[begin : end if end >= 0 else len(text)].strip().replace("\n", "\\n")  # some write it as it is
        try:
            (written,) = literals.parse(body if body.startswith("[") else f"[{body}]").body
            nodes = getattr(written.value, "elts", ()) if isinstance(written, ast.Expr) else ()
            calls = [_python_call(node, number) for number, node in enumerate(nodes)]
        except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
            return None
        rest = text[end + len(end_mark) :] if end >= 0 else ""
        return (text[:at].rstrip() + rest, calls) if calls else None

    return read


def _python_call(node: ast.AST, number: int) -> ToolCall:
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name) or node.args:
        raise ValueError
    return tool_call(node.func.id, {str(word.arg): _literal(word.value) for word in node.keywords}, number)


def _literal(node: ast.expr) -> Any:
    if isinstance(node, ast.Name) and node.id in ("true", "false", "null"):
        return {"true": True, "false": False, "null": None}[node.id]
    if isinstance(node, ast.List):
        return [_literal(one) for one in node.elts]
    if isinstance(node, ast.Dict):
        keys = [_literal(key) for key in node.keys if key is not None]
        return dict(zip(keys, map(_literal, node.values), strict=True))
    return ast.literal_eval(node)


# ── shared ───────────────────────────────────────────────────────────────────────────────────────────────────────

Arguments = Callable[[str, int, re.Match[str], Tools], tuple[Any, int] | None]
"""(text, where arguments begin, the match of the name, tools) → the arguments and where they end, or None."""


def _sequence(head: str, between: str, tail: str, call: re.Pattern[str], arguments: Arguments) -> Reader | None:
    """A reader of calls whose name comes after `head` (a pattern), and after `between` from the second one on."""
    if not head.replace(r"\s*", ""):
        return None
    opening, joining, closing = re.compile(rf"\s*{head}"), re.compile(between), re.compile(tail)

    def read(text: str, tools: Tools) -> Read | None:
        begin = opening.search(text) if len(text) <= _LONGEST else None
        if begin is None:
            return None
        calls: list[ToolCall] = []
        at = end = begin.end()
        while (match := call.match(text, at)) is not None:
            found = arguments(text, match.end(), match, tools)
            if found is None:
                break
            calls.append(tool_call(match["name"], found[0], len(calls), match.groupdict().get("id") or ""))
            end = found[1]
            joined = joining.match(text, end)
            if joined is None:
                break
            at = joined.end()
        if not calls:
            return None
        closed = closing.match(text, end)
        return text[: begin.start()] + text[closed.end() if closed else end :], _numbered(calls)

    return read


def _mark(text: str) -> str:
    """A pattern for literal text: white space may differ, and ids, and numbers that count calls."""
    words = (re.sub(r"(?<=[:_])\d+", r"\\d+", re.escape(word)) for word in re.split(r"\s+", text))
    return re.sub("zq(?:id0000)?[12]", _ID, r"\s*".join(words)).replace(NAME, _WORD)


def _any(marks: list[str]) -> str:
    return "|".join(re.escape(mark) for mark in sorted(set(marks), key=len, reverse=True) if mark)


def _end(pattern: re.Pattern[str], text: str, at: int) -> int:
    match = pattern.match(text, at)
    return match.end() if match else at


def _value(text: str, at: int) -> tuple[Any, int] | None:
    """The JSON value at a place, and where it ends."""
    try:
        return _decoder.raw_decode(text, at)
    except (ValueError, RecursionError):
        return None


def _values(text: str, first: str, start: int = 0) -> Iterator[tuple[int, Any, int]]:
    """Every JSON value in `text` that begins with one of the characters `first`."""
    for at in range(start, len(text)):
        if text[at] in first and (found := _value(text, at)) is not None:
            yield at, *found


def _loads(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _common_end(a: str, b: str) -> str:
    length = 0
    while length < min(len(a), len(b)) and a[-1 - length] == b[-1 - length]:
        length += 1
    return a[len(a) - length :]


def _numbered(calls: list[ToolCall]) -> list[ToolCall]:
    """Calls with ids that differ: a model may write one twice."""
    if len({call.id for call in calls}) == len(calls):
        return calls
    return [ToolCall(f"call_{number}", call.name, call.arguments) for number, call in enumerate(calls)]
