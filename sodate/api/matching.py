"""Why a passage was found: where the words of a query stand in it."""

from __future__ import annotations

import itertools
from typing import Any

from sodate.retrieve.terms import folded, terms

_SHORTEST = 3  # letters of a Latin term that is shown: pairs of letters stand everywhere


def pieces(text: str, query: str) -> list[dict[str, Any]]:
    """The text in pieces, `matches` being true for those that the query has, too."""
    letters: list[str] = []
    origin: list[int] = []  # of each folded letter, its place in the text
    for place, letter in enumerate(text):
        made = folded(letter)
        letters += made
        origin += [place] * len(made)
    whole = "".join(letters)
    hit = bytearray(len(text))
    for term in dict.fromkeys(terms(query)):
        if term.isascii() and len(term) < _SHORTEST:
            continue
        found = whole.find(term)
        while found >= 0:
            for place in range(origin[found], origin[found + len(term) - 1] + 1):
                hit[place] = 1
            found = whole.find(term, found + 1)
    cuts = [0, *(n for n in range(1, len(text)) if hit[n] != hit[n - 1]), len(text)]
    return [
        {"text": text[start:end], "matches": bool(hit[start])} for start, end in itertools.pairwise(cuts) if start < end
    ]
