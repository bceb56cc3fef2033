"""Votes as people write them, and what they say of every two replies."""

from __future__ import annotations

import pytest

from sodate.api.vote_words import BadVoteError, duels, placed, ranks, read


@pytest.mark.parametrize(
    ("cell", "count", "vote"),
    [
        (" ａ ", 2, "A"),
        ("b", 2, "B"),
        ("A>B", 2, "A"),
        ("B > A", 2, "B"),
        ("A=B", 2, "tie"),
        ("同じ", 2, "tie"),
        ("どちらも悪い", 2, "bad"),
        ("", 2, ""),
        ("1 2", 2, "A"),
        ("B>A=C", 3, "B>A=C"),
        ("bac", 3, "B>A>C"),
        ("B, A, C", 3, "B>A>C"),
        ("C＞A＝B", 3, "C>A=B"),
        ("2 1 2", 3, "B>A=C"),
        ("213", 3, "B>A>C"),
        ("=", 3, "A=B=C"),
        ("どれも悪い", 3, "bad"),
        ("C = A > B", 3, "A=C>B"),
    ],
)
def test_a_vote_is_read_however_it_is_written(cell: str, count: int, vote: str) -> None:
    assert read(cell, count) == vote


@pytest.mark.parametrize(
    ("cell", "count", "why"),
    [
        ("both", 2, "is not A, B, tie or bad"),
        ("C", 2, "names C"),
        ("A>B", 3, "leaves out C"),
        ("ABA", 3, "A twice"),
        ("A>B>D", 3, "names D"),
        ("1 2", 3, "2 places for 3 replies"),
        ("good", 3, "not an order"),
        ("よい", 3, "not an order"),
    ],
)
def test_a_vote_that_is_none_says_what_is_missing_double_or_unknown(cell: str, count: int, why: str) -> None:
    with pytest.raises(BadVoteError, match=why):
        read(cell, count)


def test_an_order_is_a_vote_on_every_two() -> None:
    assert dict(duels("B>A=C", 3)) == {(0, 1): "B", (0, 2): "tie", (1, 2): "A"}
    assert dict(duels("bad", 3)) == dict.fromkeys(((0, 1), (0, 2), (1, 2)), "bad")
    assert dict(duels(None, 2)) == {(0, 1): None} and dict(duels("B", 2)) == {(0, 1): "B"}
    assert ranks("B>A=C", 3) == [2, 1, 2] and ranks("tie", 2) == [1, 1] and ranks("A", 2) == [1, 2]
    assert placed(["B>A=C", "A>B>C"], 3) == [1, 1, 3]  # means 1.5, 1.5, 2.5
