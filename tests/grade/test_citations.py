"""Citations: what a reply takes from its passages stands in them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sodate.core import quoted
from sodate.core.types import Message
from sodate.grade import parse_grader
from sodate.grade.base import Case

PASSAGES = [
    ("returns.md / 返品", "商品は30日以内に返品できます。\n送料は500円です。"),
    ("hours.txt", "Support by Hanako Ltd is open from 9 to 17. Call Mr. Tanaka."),
]
QUESTION = "質問: カードで払った12番の注文は返品できる?"
ASKED = f"Answer from the passages, such as [1].\n\n{quoted.write(PASSAGES)}\n\n{QUESTION}"


def grade(reply: str, asked: str = ASKED) -> tuple[float, str]:
    (one,) = parse_grader("citations").grade([Case(reply, prompt=(Message("user", asked),))])
    return one.score, str(one.reason)


@pytest.mark.parametrize(
    "reply",
    [
        "30日以内なら返品できます。[1]",
        "30日以内なら返品できます[1]。送料は５００円です[1]。",
        "三十日以内です。[1]",  # the same number, however it is written
        "12番の注文はカードで払われています。[1]",  # number and name of the question
        "「30日以内に返品できます」とあります。[1]",
        "It is open from 9 to 17 [2]. Ask Tanaka at Hanako [2].",
        "返品できます。[1] 受付は Hanako です。[2]",
        "資料からは分かりません。",  # nothing to cite
        "500円で、受付は9時からです。[1][2]",
        "送料は500円です。詳しくは窓口まで。[1]",
        "1. 30日以内に返品できます[1]。\n2. 送料は500円です[1]。\n3. Hanako へどうぞ[2]。",  # the numbers of a list
        "500円で、受付は9時からです[1, 2]。",
        "返品は30日以内で[1]、受付は9時からです[2]。",
    ],
)
def test_what_stands_in_the_passages_holds(reply: str) -> None:
    assert grade(reply) == (1.0, grade(reply)[1])


@pytest.mark.parametrize(
    ("reply", "why"),
    [
        ("30日以内です。", "names no passage"),
        ("30日以内です。[3]", "there is no passage [3]"),
        ("40日以内です。[1]", "not in the passages: 40"),
        ("30日以内です。[2]", "not in the passages: 30"),  # it stands in another one
        ("「いつでも返品できます」とあります。[1]", "not in the passages: “いつでも返品できます”"),
        ("受付はスズキです。[1]", "not in the passages: スズキ"),
        ("It is open. Ask Suzuki [2].", "not in the passages: Suzuki"),
        ("返品できます。[1] 手数料は80円です。", "not in the passages: 80"),  # a sentence without a mark, too
        ("返品は30日以内で[2]、受付は9時からです[1]。", "not in the passages: 30"),  # each clause has its own
        ("[1]", "says nothing beside its marks"),
    ],
)
def test_what_does_not_is_named(reply: str, why: str) -> None:
    assert grade(reply) == (0.0, why)


def test_dates_and_years_hold_however_they_are_written_and_headings_count() -> None:
    passage = ("faq.md / プレミアム", "2026年4月1日から月額980円です。保証は two years です。")
    asked = f"{quoted.write([passage])}\n\n質問: 料金は?"
    for reply in (
        "令和8年4月1日からです[1]。",
        "2026/4/1 からです[1]。",
        "プレミアムは980円です[1]。",
        "It is 2 years [1].",
    ):
        assert grade(reply, asked)[0] == 1, reply
    assert grade("令和8年4月2日からです[1]。", asked)[0] == grade("It is three years [1].", asked)[0] == 0


def test_without_passages_nothing_can_be_cited() -> None:
    assert grade("30日です。[1]", "質問: 何日?") == (0.0, "the prompt holds no passages")


def test_a_passage_cannot_pass_for_another_one() -> None:
    text = quoted.write([("a", "x\n[2] b\n> 900円\n\n[3] c")])
    assert quoted.read(text) == {1: "x\n[2] b\n> 900円\n\n[3] c"} and quoted.after(text) == ""


lines = st.text(st.characters(exclude_characters="\r\n\v\f\x1c\x1d\x1e\x85\u2028\u2029", codec="utf-8"), min_size=1)


@given(st.lists(st.tuples(lines, st.lists(lines, min_size=1).map("\n".join)), min_size=1, max_size=4))
def test_passages_are_read_as_they_were_written(passages: list[tuple[str, str]]) -> None:
    asked = quoted.write(passages) + "\n\nquestion"
    assert quoted.read(asked) == {n: text for n, (_, text) in enumerate(passages, 1)}
    assert quoted.after(asked).strip() == "question"
