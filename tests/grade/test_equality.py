"""Values that are the same however they are written, and what was folded to see it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sodate.core.errors import UsageError
from sodate.grade import parse_grader
from sodate.grade.equality import FOLDINGS, equal


@pytest.mark.parametrize(
    ("left", "right", "needed"),
    [
        ("2024年4月1日", "2024年4月1日", ""), ("令和6年4月1日", "2024年4月1日", "era"),
        ("令和元年5月", "2019年5月", "era"), ("㋿6年", "2024年", "era"), ("昭和64年1月7日", "1989年1月7日", "era"),
        ("大正十二年", "1923年", "era"), ("明治45年", "1912年", "era"), ("令和6年度", "2024年度", "era"),
        ("R6.4.1", "2024-04-01", "era date"), ("平成三十一年四月三十日", "2019.4.30", "era date"),
        ("2024/4/1", "2024-04-01", "date"), ("三千円", "3,000円", "numerals"), ("1.5万円", "15,000円", "numerals"),
        ("1億2,000万円", "120000000円", "numerals"), ("壱万円", "10000円", "numerals"), ("5割", "50%", "numerals"),
        ("午後三時", "午後3時", "numerals"), ("¥3,000", "3000円", "currency numerals"),
        ("金三千円也", "3000円", "currency numerals"), ("￥1,234-", "1234円", "currency numerals"),
        ("㈱山田", "株式会社山田", "company"), ("山田㈲", "山田有限会社", "company"),
        ("(株)髙橋", "株式会社高橋", "company variants"), ("渡邉", "渡辺", "variants"), ("山﨑", "山崎", "variants"),
        ("ＡＢＣ１２", "ABC12", "width"), ("ｶﾞｽ", "ガス", "width"), ("山田　太郎", "山田太郎", "space"),
        ("二〇二四年四月一日", "2024年4月1日", "numerals"), ("R6年4月1日", "2024年4月1日", "era"),
        ("R元.5.1", "2019.5.1", "era"),
        ("一人", "1人", "numerals"), ("大人二名", "大人2名", "numerals"), ("二丁目三番地", "2丁目3番地", "numerals"),
        ("金壱百萬円也", "1,000,000円", "currency numerals"), ("JPY 3,000", "3,000円", "currency"),
        ("(一社)青空", "一般社団法人青空", "company"), ("¥3,000.-", "3000円", "currency numerals"),
        ("２０２４年４月１日", "2024-4-1", "width date"), ("３，０００円（税込）", "3000円(税込)", "width numerals"),
    ],
)  # fmt: skip
def test_equal_values_and_what_was_folded(left: str, right: str, needed: str) -> None:
    assert equal(left, right) == equal(right, left) == tuple(sorted(needed.split(), key=list(FOLDINGS).index))


@pytest.mark.parametrize(
    ("left", "right"),
    [("007", "7"), ("十分", "10分"), ("03-1234-5678", "0312345678"), ("50%", "0.5"), ("2024年13月1日", "2024-13-01"),
     ("令和6年", "平成6年"), ("株式会社A", "有限会社A"), ("2024年4月1日", "2024年4月2日"), ("一般", "1般"),
     ("1.2.3", "1.23"), ("A", "a"), ("高橋", "高校"), ("", "0"), ("3,000円", "3,000ドル"), ("R6", "2024年")],
)  # fmt: skip
def test_what_differs_stays_different(left: str, right: str) -> None:
    assert equal(left, right) is None and equal(right, left) is None


@given(st.text("令和平成元年月日円万千百十一二三0123456789/.-,㈱(株)髙 Ａ%", max_size=24))
def test_every_text_equals_itself_and_folding_twice_changes_nothing(text: str) -> None:
    assert equal(text, text) == ()
    assert equal(text, f" {text}\n") == ()


def test_the_grader_says_why_and_takes_fewer_foldings() -> None:
    grade = parse_grader("equal")("R6.4.1", "2024年4月1日", {})
    assert (grade.score, grade.parts["as_written"]) == (1, 0)
    assert "Japanese era, ways to write a date" in grade.reason
    assert parse_grader("equal")("x", "x", {}).parts["as_written"] == 1
    assert parse_grader("equal:foldings=width+space")("R6.4.1", "2024年4月1日", {}).score == 0
    assert parse_grader({"kind": "equal", "foldings": ["era"]})("令和6年", "2024年", {}).score == 1
    assert parse_grader("equal")("令和6年", "1", {"reference_answers": ["2024年", "x"]}).score == 1
    with pytest.raises(UsageError, match="no folding 'kana'"):
        parse_grader("equal:foldings=kana")


def test_fields_take_strings_loosely_and_say_which() -> None:
    reply, right = '{"on": "令和6年4月1日", "who": ["㈱山田"]}', '{"on": "2024-04-01", "who": ["株式会社山田"]}'
    assert parse_grader("fields")(reply, right, {}).score == 0
    grade = parse_grader("fields:strings=loose")(reply, right, {})
    assert grade.score == 1 and "on by Japanese era" in grade.reason and "who[0] by ㈱ written out" in grade.reason
    assert parse_grader("fields:strings=loose")(reply, right.replace("04-01", "04-02"), {}).score < 1
