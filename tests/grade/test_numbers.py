"""Numbers as people write them; the grader, and the two others that read numbers."""

from __future__ import annotations

import time
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sodate.grade import kanji, numbers, parse_grader


def same(reply: str, reference: str) -> bool:
    return parse_grader("number")(reply, reference, {}).score == 1


@pytest.mark.parametrize(("reply", "reference"), [
    # Scientific notation, powers
    ("1e-1", "0.1"), ("2.5E+3", "2500"), ("6.02×10^23", "602e21"), ("6.02 x 10^{23}", "6.02×10²³"), ("1e−1", "0.1"),
    ("6.02*10**23", "6.02e23"), ("1.5·10⁻³", "0.0015"), ("10⁻³", "0.001"), ("10²", "100"), ("2^10", "1024"),
    ("１ｅ－１", "0.1"), ("1.5e3 m", "1500"), (r"6.02\times 10^{23}", "6.02e23"),
    # Decimal commas, thousands
    ("1,5", "1.5"), ("１，５", "1.5"), ("0,500", "0.5"), ("1.234,56", "1234.56"), ("1,234,567", "1234567"),
    ("1.234.567,8", "1234567.8"), ("1 234 567", "1234567"), ("1\u202f234,5", "1234.5"), ("1'234.5", "1234.5"),
    ("1’234", "1234"), ("1_000", "1000"), ("1,00,000", "100000"), ("10\u00a0000 km", "10000"), ("1,234円", "1234"),
    ("1,2,3", "3"), ("12 345 ", "12345"), ("10{,}000", "10000"),
    # Digits of other scripts and widths
    ("１２", "12"), ("٣٫٥", "3.5"), ("३", "3"), ("3．14", "3.14"), ("𝟏𝟐", "12"),
    # Kanji, alone and mixed
    ("十二", "12"), ("三千五百", "3500"), ("一億二千万", "120000000"), ("1億2,000万円", "120000000"),
    ("3千5百", "3500"), ("二〇二六年", "2026"), ("約三千人", "3000"), ("三・一四", "3.14"),
    ("参千五百円", "3500"), ("12万3千", "123000"),
    ("3.5億", "350000000"), ("百", "100"), ("二千万", "20000000"), ("零", "0"), ("五個", "5"), ("一つです", "1"),
    ("5足す7は十二です", "12"), ("三個のうち二個", "2"), ("10分", "10"), ("十分です", "10"), ("一兆", "1e12"),
    # Words with a kanji in them are passed over where there is a number.
    ("答えは12です。一緒に確認しましょう", "12"),
    ("12です。一度、一般に、十分に、統一", "12"), ("8。三菱と千葉と数百人", "8"),
    # Fractions
    ("½", "0.5"), ("2½", "2.5"), ("2 1/2", "2.5"), ("3/4", "0.75"), ("1⁄3", "1/3"), ("三分の一", "1/3"),
    ("3分の2", "2/3"), (r"\frac{1}{2}", "0.5"), ("⅔", "2/3"), ("２と１／２", "2.5"),
    ("二と二分の一", "2.5"), ("-1と3分の2", "-5/3"), ("-½", "-0.5"),
    # Percent and 割: the value, or the figure beside a bare number
    ("50%", "0.5"), ("50 %", "50"), ("５０％", "0.5"), ("五十パーセント", "0.5"), ("3割", "30%"), ("三割五分", "0.35"),
    ("5‰", "0.005"), ("50 percent", "50%"), ("3割5分2厘", "0.352"), ("打率三割二分一厘", "0.321"), ("2割5厘", "0.205"),
    ("五分五厘", "0.055"), ("1½%", "0.015"),
    # Words for thousands: the value, or the figure beside a bare number
    ("1.5 million", "1500000"), ("$2.5 billion", "2500000000"), ("3 thousand yen", "3,000"), ("1.5k", "1500"),
    ("1.5 million", "1.5"), ("12 millions", "1.2千万"), ("3 kg", "3"), ("5km", "5"),
    # Minus
    ("−5", "-5"), ("－5", "-5"), ("–5", "-5"), ("—5", "-5"), ("‐5", "-5"), ("﹣5", "-5"), ("➖5", "5"), ("ー5", "-5"),
    ("▲1,200", "-1200"), ("△３", "-3"), ("マイナス5度", "-5"), ("マイナス三", "-3"), ("minus 5", "-5"), ("-$5", "-5"),
    ("$-5", "-5"), ("−¥500", "-500"), ("x = - 5", "-5"), ("− 5", "-5"), ("10-7", "7"), ("10 − 7", "7"), ("+5", "5"),
    # Units
    ("12kg", "12"), ("5cm", "5"), ("25 m^2", "25"), ("100km/h", "100"), ("5 H₂O", "5"), ("3D", "3"), ("0x1F", "31"),
    # Dates and the like equal each other.
    ("2026-03-02", "2026/3/2"), ("12:30", "12:30"), ("1.2.3", "1.2.3"), ("12個 (2026-03-02)", "12"),
])  # fmt: skip
def test_a_number_is_read_however_it_is_written(reply: str, reference: str) -> None:
    assert same(reply, reference)


@pytest.mark.parametrize(("reply", "reference"), [
    ("2と2分の1", "0.5"), ("3割5分2厘", "0.35"), ("3割5分2厘", "2"), ("1.5 million", "1500"), ("5k", "50"),
    ("1e-1", "1"), ("1e-1", "-1"), ("6.02×10^23", "23"), ("6.02×10^23", "10"), ("1,5", "5"), ("1,5", "15"), ("½", "2"),
    ("3/4", "4"), ("三千五百", "5"), ("二〇二六", "6"), ("一億二千万", "2000"), ("50%", "5"), ("1%", "10%"),
    ("2026-03-02", "2"), ("12:30", "30"), ("1.2.3", "1.2"), ("1.2.3", "3"), ("v1.2.3", "3"),
    ("192.168.0.1", "1"), ("03-1234-5678", "5678"),
    ("1 234 567", "567"), ("10 000", "0"), ("7" * 1000, "7"), ("10/0", "0"), ("1e999999999", "1"), ("2^99999999", "2"),
    ("統一", "1"), ("数百人", "100"), ("千葉県", "1000"), ("〇", "0"), ("万一", "1"), ("3割", "3%"), ("2^(1/2)", "2"),
    ("1.5e3", "1.5"), ("1e", "e"), ("12万3千", "3"), ("3.5億", "3.5"),
])  # fmt: skip
def test_a_number_is_never_cut_in_the_middle(reply: str, reference: str) -> None:
    wanted = numbers.last(reference)
    found = numbers.last(reply, wanted)
    assert wanted is None or found is None or not found.same(wanted)


@given(st.integers(-(10**15), 10**15))
def test_an_integer_is_itself_with_separators_and_in_kanji(value: int) -> None:
    for mark in ("", ",", "_", " ", "'"):
        assert numbers.whole(f"{value:,}".replace(",", mark)) == value
    assert numbers.whole(f"{abs(value):,}".replace(",", ".") + ",5") == abs(value) + Fraction(1, 2)
    assert kanji.value(in_kanji(abs(value)), numbers.arabic) == abs(value)


def in_kanji(value: int) -> str:
    """The usual way: 一万, 千, 百, 十."""
    if not value:
        return "零"
    words = ""
    for big, name in ((10**12, "兆"), (10**8, "億"), (10**4, "万"), (1, "")):
        section, value = divmod(value, big)
        if section:
            for unit, sign in ((1000, "千"), (100, "百"), (10, "十")):
                digit, section = divmod(section, unit)
                words += ("" if digit < 2 else "〇一二三四五六七八九"[digit]) + sign if digit else ""
            words += "〇一二三四五六七八九"[section] if section else ""
            words += name
    return words


@pytest.mark.parametrize("text", ["二十二十", "万", "億", "三五十", "十二三十", "一万億", "千二千"])
def test_kanji_that_make_no_number_are_not_one(text: str) -> None:
    assert kanji.value(text, numbers.arabic) is None


def test_loose_fields_read_numbers_as_the_number_grader_does() -> None:
    loose = parse_grader("fields:numbers=loose,mode=exact")
    for written in ("0.1", "1e-1", "０．１", "0,1", "+0.1"):
        assert loose(f'{{"n": "{written}"}}', '{"n": 0.1}', {}).score == 1, written
    for written in ("0.1 V", "1.2.3", "2026-03-02", "10%"):
        assert loose(f'{{"n": "{written}"}}', '{"n": 0.1}', {}).score == 0, written


@pytest.mark.parametrize(
    "piece", ["7", "1,", "1 234 ", "a1", "1^", "²", "—", "{,}", "1:", "1分の", "万1", " ", "0x", "1/"]
)
def test_endless_text_is_read_in_time_that_grows_with_it(piece: str) -> None:
    def seconds(n: int) -> float:
        started = time.process_time()
        numbers.last(piece * n)
        return time.process_time() - started

    assert seconds(20_000) < 10
