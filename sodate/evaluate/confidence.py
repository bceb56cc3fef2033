"""How sure a reply is, from the probabilities of its tokens: as a whole, and field by field where it is JSON."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from itertools import accumulate

_SPACE = re.compile(r"[ \t\r\n]*")
_DECODER = json.JSONDecoder()


def of_reply(log_probabilities: Sequence[float]) -> float:
    """The geometric mean of the tokens' probabilities: of long replies their product says nothing. 0 of no tokens."""
    return math.exp(sum(log_probabilities) / len(log_probabilities)) if log_probabilities else 0.0


def of_fields(pieces: Sequence[bytes], log_probabilities: Sequence[float]) -> dict[str, float]:
    """Of a reply that is one JSON object the probability of each field's value after what stands before it: the product
    over the tokens that the value lies in. Fields of objects within are `outer.inner`. Empty for any other reply."""
    text = b"".join(pieces).decode("utf-8", "replace")
    ends = [0, *accumulate(len(piece) for piece in pieces)]
    found = {}
    for name, (start, end) in spans(text).items():
        first, last = (len(text[:at].encode("utf-8", "replace")) for at in (start, end))
        inside = [n for n in range(len(pieces)) if ends[n] < last and ends[n + 1] > first]
        found[name] = math.exp(sum(log_probabilities[n] for n in inside))
    return found


def spans(text: str) -> dict[str, tuple[int, int]]:
    """Where in a text the value of each field of its JSON object lies, in characters."""
    found: dict[str, tuple[int, int]] = {}
    at = _skipped(text, 0)
    try:
        if not isinstance(json.loads(text), dict):
            return {}
        _object(text, at, "", found)
    except (ValueError, RecursionError):
        return {}
    return found


def values(text: str) -> dict[str, str]:
    """The values of the same fields, each as JSON with sorted keys, so that they can be compared."""
    plain = {name: json.loads(text[start:end]) for name, (start, end) in spans(text).items()}
    return {name: json.dumps(value, ensure_ascii=False, sort_keys=True) for name, value in plain.items()}


def _skipped(text: str, at: int) -> int:
    space = _SPACE.match(text, at)
    assert space is not None
    return space.end()


def _object(text: str, at: int, within: str, found: dict[str, tuple[int, int]]) -> int:
    """Notes the fields of the object that begins at `at`; where it ends."""
    at = _skipped(text, at + 1)
    while text[at] != "}":
        key, at = _DECODER.raw_decode(text, at)
        at = _skipped(text, _skipped(text, at) + 1)  # past the colon
        if text[at] == "{":
            at = _object(text, at, f"{within}{key}.", found)
        else:
            start = at
            _, at = _DECODER.raw_decode(text, at)
            found[f"{within}{key}"] = start, at
        at = _skipped(text, at)
        if text[at] == ",":
            at = _skipped(text, at + 1)
    return at + 1
