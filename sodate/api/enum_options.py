"""Where a JSON schema lets a value be one of a few (enum, const, true or false, null): how likely each of them was.

A grammar holds every token to what may follow, so that the tokens of a reply say little of the options that were not
taken. Here each option stands in its value's place, after all that the reply has before it, and is scored whole.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from sodate.api.text_stream import Scored, TokenBytes
from sodate.evaluate.confidence import spans

MOST = 4096  # tokens of all options that are scored
DEEPEST = 16  # references and objects that are gone into


@dataclass(frozen=True, slots=True)
class Choice:
    """A value of a reply that was one of a few: `before` are the reply's ids up to it, `ways` those of each option from
    there on. An option has its JSON as its name, a text without the quotes."""

    field: str
    before: tuple[int, ...]
    ways: Mapping[str, tuple[int, ...]]


def fields(schema: Any) -> dict[str, list[Any]]:
    """The values that each field may have, where there are two or more of them and no other; fields of objects within
    are `outer.inner`, and "" is the reply itself."""
    found: dict[str, list[Any]] = {}
    _within(schema, schema, "", found, DEEPEST)
    return found


def _within(schema: Any, root: Any, name: str, found: dict[str, list[Any]], depth: int) -> None:
    schema = _resolved(schema, root)
    values = _values(schema, root, depth)
    if values is not None:
        if len(values) > 1:
            found[name] = values
        return
    properties = schema.get("properties") if isinstance(schema, dict) else None
    if isinstance(properties, dict) and depth:
        for key, inner in properties.items():
            _within(inner, root, f"{name}.{key}" if name else key, found, depth - 1)


def _values(schema: Any, root: Any, depth: int) -> list[Any] | None:
    """All that a schema allows, or None where it can't be listed."""
    schema = _resolved(schema, root)
    if not isinstance(schema, dict) or not depth:
        return None
    if isinstance(schema.get("enum"), list):
        return _distinct(schema["enum"])
    if "const" in schema:
        return [schema["const"]]
    if schema.get("type") in ("boolean", "null"):
        return [True, False] if schema["type"] == "boolean" else [None]
    for key in ("anyOf", "oneOf"):
        if isinstance(schema.get(key), list):
            parts = [_values(part, root, depth - 1) for part in schema[key]]
            listed = [part for part in parts if part is not None]
            return _distinct([v for part in listed for v in part]) if len(listed) == len(parts) else None
    whole = schema.get("allOf")
    return _values(whole[0], root, depth - 1) if isinstance(whole, list) and len(whole) == 1 else None


def _resolved(schema: Any, root: Any) -> Any:
    """What a reference within the document stands for."""
    for _ in range(DEEPEST):
        reference = schema.get("$ref") if isinstance(schema, dict) else None
        if not isinstance(reference, str) or not reference.startswith("#"):
            return schema
        schema = root
        for part in reference[1:].split("/")[1:]:
            schema = schema.get(part.replace("~1", "/").replace("~0", "~")) if isinstance(schema, dict) else None
    return None


def _distinct(values: Sequence[Any]) -> list[Any]:
    return list({_written(value): value for value in values}.values())


def _written(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def choices(schema: Any, tokens: Sequence[Scored], stop: int | None, bytes_of: TokenBytes) -> list[Choice]:
    """What of a reply was one of a few: fields of a JSON object, or the reply itself, which has the name "".

    An option goes to the end of the token that says what follows the value (`stop`, after a reply), so that none is the
    beginning of another.
    """
    listed = fields(schema)
    whole = b"".join(token.bytes for token in tokens)
    text = whole.decode("utf-8", "replace")
    ends = [0, *accumulate(len(token.bytes) for token in tokens)]
    if "" in listed:
        found = [] if stop is None else [_choice("", listed[""], "", "", (), (stop,), bytes_of)]
        return [one for one in found if sum(map(len, one.ways.values())) <= MOST]
    room, found = MOST, []
    for name, (start, end) in spans(text).items():
        if name not in listed or json.loads(text[start:end]) not in listed[name]:
            continue
        at, last = len(text[:start].encode()), len(text[:end].encode()) + 1  # a comma, a bracket or a space follows
        first = max(n for n in range(len(tokens)) if ends[n] <= at)
        behind = next(end for end in ends if end >= last)
        head, tail = whole[ends[first] : at].decode(), whole[last - 1 : behind].decode("utf-8", "replace")
        one = _choice(name, listed[name], head, tail, tuple(token.id for token in tokens[:first]), (), bytes_of)
        room -= sum(map(len, one.ways.values()))
        if room >= 0:
            found.append(one)
    return found


def _choice(
    name: str, values: Sequence[Any], head: str, tail: str, before: tuple[int, ...], after: tuple[int, ...],
    bytes_of: TokenBytes,
) -> Choice:  # fmt: skip
    ways = {
        value if isinstance(value, str) else _written(value): (*bytes_of.ids(f"{head}{_written(value)}{tail}"), *after)
        for value in values
    }
    return Choice(name, before, ways)


def told(model: Any, prompt: Sequence[int], found: Sequence[Choice]) -> dict[str, dict[str, float]]:
    """By field the log-probability (nats) of each option, all of a field together being certain. `prompt` are the ids
    before the reply. One forward for all of them."""
    from sodate.generate.scoring import ending

    rows = [([*prompt, *one.before], way) for one in found for way in one.ways.values()]
    scores = iter(ending(model, rows))
    said = {}
    for one in found:
        own = {option: next(scores) for option in one.ways}
        most = max(own.values())
        total = most + math.log(sum(math.exp(value - most) for value in own.values()))
        said[one.field] = {option: value - total for option, value in own.items()}
    return said
