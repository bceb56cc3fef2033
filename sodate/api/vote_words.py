"""What a rater says of a row, as it is written and as it is counted.

Of two replies: A, B, tie or bad (both). Of three or more: their order, B>A=C, or bad (all). A duel is what that says of
two of them.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from itertools import combinations

from sodate.core.text import tr

LETTERS = "ABCDEFGH"
_WORDS = {
    "tie": "tie", "=": "tie", "same": "tie", "同じ": "tie", "引き分け": "tie", "同点": "tie",
    "bad": "bad", "both bad": "bad", "all bad": "bad", "x": "bad", "×": "bad", "どちらも悪い": "bad", "両方悪い": "bad",
    "どれも悪い": "bad", "すべて悪い": "bad",
}  # fmt: skip


class BadVoteError(ValueError):
    """A cell that says nothing of the kind; the message says why."""


def read(cell: str, count: int) -> str:
    """The vote of a cell on `count` replies: A, B, tie, bad or B>A=C; "" for an empty one. BadVoteError for others.

    An order may be written B>A=C, B A C, BAC, or as the place of each reply from A on: 2 1 3.
    """
    text = " ".join(unicodedata.normalize("NFKC", cell).split())
    if not text:
        return ""
    if (word := _WORDS.get(text.lower())) is not None:
        return "=".join(LETTERS[:count]) if word == "tie" and count > 2 else word
    groups = _order(text, text.upper(), count)
    if count > 2:
        return ">".join("=".join(sorted(group)) for group in groups)
    return "tie" if len(groups) == 1 else groups[0][0]


def _order(written: str, text: str, count: int) -> list[list[str]]:
    letters = LETTERS[:count]
    if count == 2 and text in letters:
        return [[text], [letters.replace(text, "")]]
    places = re.findall(r"\d+", text)
    if places and not re.search(r"[^\d\s,、>]", text):
        places = list(places[0]) if len(places) == 1 and len(places[0]) == count else places
        if len(places) != count:
            raise BadVoteError(tr(f"{text} has {len(places)} places for {count} replies",
                                  f"{text} は {count} 個の返答に対し {len(places)} 個です"))  # fmt: skip
        ranks = {letter: int(place) for letter, place in zip(letters, places, strict=True)}
        return [[one for one in letters if ranks[one] == rank] for rank in sorted(set(ranks.values()))]
    if re.search(rf"[^{LETTERS}\s,、>=]", text) or not re.search("[A-Z]", text):
        raise BadVoteError(_not_a_vote(written, count))
    groups = [re.findall("[A-Z]", part) for part in re.split(r"[>\s,、]+", re.sub(r"(?<!\s)\s*=\s*", "=", text))]
    if not re.search(r"[>\s,、=]", text):  # BAC
        groups = [[letter] for letter in text]
    groups = [group for group in groups if group]
    named = [letter for group in groups for letter in group]
    if strange := next((letter for letter in named if letter not in letters), None):
        raise BadVoteError(tr(f"{text} names {strange}, and there is {letters[0]} to {letters[-1]}",
                              f"{text} の {strange} はありません ({letters[0]}〜{letters[-1]})"))  # fmt: skip
    if twice := next((letter for letter in named if named.count(letter) > 1), None):
        raise BadVoteError(tr(f"{text} names {twice} twice", f"{text} に {twice} が二度あります"))
    if missing := [letter for letter in letters if letter not in named]:
        raise BadVoteError(
            tr(f"{text} leaves out {', '.join(missing)}", f"{text} に {'、'.join(missing)} がありません")
        )
    return groups


def _not_a_vote(text: str, count: int) -> str:
    if count == 2:
        return tr(f"{text!r} is not A, B, tie or bad", f"{text!r} は A、B、同じ、どちらも悪い のいずれでもありません")
    return tr(
        f"{text!r} is not an order such as B>A=C, or bad",
        f"{text!r} は B>A=C のような順でも「どれも悪い」でもありません",
    )


def ranks(vote: str, count: int) -> list[int]:
    """The place of each reply, from 1; equal ones share theirs. All 1 for a tie and where all are bad."""
    if vote in ("tie", "bad"):
        return [1] * count
    groups = [[vote], [LETTERS[:2].replace(vote, "")]] if count == 2 else [part.split("=") for part in vote.split(">")]
    place, found = 1, dict[str, int]()
    for group in groups:
        found |= dict.fromkeys(group, place)
        place += len(group)
    return [found[letter] for letter in LETTERS[:count]]


def duels(vote: str | None, count: int) -> Iterator[tuple[tuple[int, int], str | None]]:
    """Of every two replies, by their places on the row, what a vote says: A (the first), B, tie, bad, or None."""
    places = [0] * count if not vote else ranks(vote, count)
    for first, second in combinations(range(count), 2):
        if not vote:
            yield (first, second), None
        elif vote == "bad":
            yield (first, second), "bad"
        else:
            gap = places[first] - places[second]
            yield (first, second), "tie" if gap == 0 else "A" if gap < 0 else "B"


def placed(votes: Sequence[str], count: int) -> list[int]:
    """The places that several raters give together: by the mean of theirs, equal means sharing one."""
    means = [sum(ranks(vote, count)[i] for vote in votes) / len(votes) for i in range(count)]
    return [1 + sum(other < own - 1e-9 for other in means) for own in means]
