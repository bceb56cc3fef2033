"""A cluster named by its own words: those that its texts have and others have not."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence

from sodate.data.names import words as _listed
from sodate.data.similar import comparable

# Runs of kanji, of katakana, and Latin words: what a text is about, without a dictionary.
_WORD = re.compile(r"[一-鿿々〆]{2,8}|[ァ-ヶー]{3,16}|[a-z][a-z'’-]{2,24}")
# What a text is not about.
EMPTY = _listed(
    """
    the and for you your are was were can could would should will this that with have has had not but how what when
    where why who which does did from about please there their they them then than into our out any all some just get
    got want need like know tell me my its it's i'm i've don't doesn't can't is be been to of in on at by it if so do
    or an as we us he she no yes am
    場合 方法 何 事 件 時 下 教 願 ください よろしく
    """
)
WORDS = 3  # in a name
Counts = Counter[str]


def words(text: str) -> set[str]:
    """The words of a text that could name it."""
    return {word for word in _WORD.findall(comparable(text[:1000])) if word not in EMPTY}


def named(inside: Counts, texts: int, everywhere: Counts, all_texts: int) -> list[str]:
    """The words of a cluster, those first that set it apart: its share of texts with the word, times the log of how
    much rarer the word is elsewhere."""
    scored = sorted(
        ((count / texts) * math.log1p((count / texts) / ((everywhere[word] + 1) / (all_texts + 1))), word)
        for word, count in inside.items()
        if count * 20 >= texts and (everywhere[word] * 2 <= all_texts or all_texts < 20)
    )  # fmt: skip
    chosen: list[str] = []
    for _, word in reversed(scored):
        if not any(word in other or other in word for other in chosen):
            chosen.append(word)
        if len(chosen) == WORDS:
            break
    return chosen


def counted(texts: Sequence[str]) -> Counts:
    """In how many texts each word is."""
    found: Counts = Counter()
    for text in texts:
        found.update(words(text))
    return found
