"""What texts are compared by: terms that need no dictionary, the same for passages and questions.

Japanese has no spaces, so a term is a pair of neighbouring characters; single kanji and whole runs of one script
(katakana, kanji, Latin) count as well. Pairs of hiragana are mostly grammar and are left out. On the questions of
JSQuAD this finds more than pairs alone (docs/lab/retrieval.md).
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterator
from itertools import chain, filterfalse
from operator import add

_GAP = re.compile(r"[\W_]+")
_KANJI = "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003134f々"
_ONE_KANJI = re.compile(f"[{_KANJI}]")
_RUN = re.compile(f"[ァ-ヶー]{{2,}}|[^\\W_ぁ-ゖァ-ヶー{_KANJI}]+|[{_KANJI}]{{2,}}")
_ALONE = re.compile(r"(?<!\S)(?:[ぁ-ゖー]+|\S)(?!\S)")  # has no pair but those of grammar
_HIRAGANA = [chr(n) for n in range(ord("ぁ"), ord("ゖ") + 1)] + ["ー"]
_GRAMMAR = frozenset(a + b for a in _HIRAGANA for b in _HIRAGANA)
LONGEST = 64  # characters of a term: a longer run of one script is no word


def folded(text: str) -> str:
    """The form in which terms are the same whatever width and case they are written in."""
    return unicodedata.normalize("NFKC", text).casefold()


def pairs(text: str) -> list[str]:
    """Terms that every text has in which this one stands word for word."""
    spaced = _GAP.sub(" ", folded(text))
    return list(dict.fromkeys(_pairs(spaced)))


def _pairs(spaced: str) -> Iterator[str]:
    near = filter(str.isalnum, map(add, spaced, spaced[1:]))  # with a gap between them they are none
    return filterfalse(_GRAMMAR.__contains__, near)


def terms(text: str) -> Counter[str]:
    """The terms of a text, and how often each occurs. A lone character is a term where it stands alone."""
    whole = folded(text)
    spaced = _GAP.sub(" ", whole)
    return Counter(
        chain(
            _pairs(spaced),
            (part[:LONGEST] for part in _ALONE.findall(spaced)),
            _ONE_KANJI.findall(whole),
            (run for run in _RUN.findall(whole) if len(run) <= LONGEST),
        )
    )
