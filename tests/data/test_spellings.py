"""Telephone numbers and mail addresses as people write them to get past a filter, or dictate them."""

from __future__ import annotations

import re
import time

import pytest

from sodate.data.mask import mask
from sodate.data.pii import find


def each(text: str) -> list[str]:
    return text.split()


PHONES = [
    *each("""
    090-1234-5678 09012345678 ０９０－１２３４－５６７８ ０９０１２３４５６７８ 090ー1234ー5678 090–1234–5678
    090—1234—5678 090−1234−5678 (090)1234-5678 （０９０）１２３４－５６７８ 090(1234)5678 090.1234.5678
    090・1234・5678 090/1234/5678 090_1234_5678 090~1234~5678 090〜1234〜5678 +81-90-1234-5678 +819012345678
    ＋８１９０１２３４５６７８ 0081-90-1234-5678 010-81-90-1234-5678 (+81)90-1234-5678 +81(0)90-1234-5678
    〇九〇-一二三四-五六七八 〇九〇一二三四五六七八 零九〇ー一二三四ー五六七八 〇九〇の一二三四の五六七八
    090の1234の5678 090?1234?5678 O9O-1234-5678 09O-l234-5678 ⓪⑨⓪①②③④⑤⑥⑦⑧ 090-12-345-678 0901-234-5678 𝟎𝟗𝟎-𝟏𝟐𝟑𝟒-𝟓𝟔𝟕𝟖
    ٠٩٠-١٢٣٤-٥٦٧٨ 03-1234-5678 03(1234)5678 ０３－１２３４－５６７８ 〇三の一二三四の五六七八 03・1234・5678
    0120-123-456 0120・123・456 0466-12-3456 +81-3-1234-5678
    """),
    "090 1234 5678", "+81 90 1234 5678", "0 9 0 1 2 3 4 5 6 7 8", "090 - 1234 - 5678", "0 9 0 - 1 2 3 4 - 5 6 7 8",
    "090\u200b1234\u200b5678", "090\u00a01234\u00a05678", "090\u30001234\u30005678", "090\t1234\t5678",
    "ゼロキュウゼロ イチニーサンヨン ゴーロクナナハチ", "ぜろきゅうぜろ、いちにさんよん、ごろくななはち",
    "zero nine zero one two three four five six seven eight", "TEL:090-1234-5678", "ＴＥＬ０９０-１２３４-５６７８",
]  # fmt: skip
MAILS = [
    *each("""
    taro@example.com ｔａｒｏ＠ｅｘａｍｐｌｅ．ｃｏｍ taro＠example.com taro[at]example.com
    taro[at]example[dot]com taro(at)example.com taro{at}example.com taro<at>example.com taro【at】example.com
    taro［at］example［dot］com taro（アット）example.com taro(アットマーク)example.com
    taroアットマークexample.com taroアットexampleドットcom taro（あっと）example（どっと）com taro★example.com
    taro☆example.com taro●example.com taro◎example.com taro[@]example.com taro(＠)example.com
    taro_at_example.com taro-at-example.com taro%40example.com taro&#64;example.com taro@example[.]com
    taro[at]example[.]com taro(a)example.com taro＜at＞example.com taro@例え.jp taro@xn--r8jz45g.jp
    taro+tag@example.co.jp taro.@example.ne.jp taro..y@example.jp taro@example。com taro@[192.168.0.1]
    TARO@EXAMPLE.COM
    """),
    "taro [at] example.com", "taro [at] example [dot] com", "taro (at) example (dot) com", "taro at example dot com",
    "TARO AT EXAMPLE DOT COM", "taro @ example.com", "taro＠ example.com", '"taro yamada"@example.com',
    "taro\u200b@example.com", "taro@\u200bexample.com", "taro[アット]example[ドット]co[ドット]jp",
]  # fmt: skip
FRAMES = ("連絡先は{}です。", "{}", "佐藤さん（{}）まで", "Write to {} please", "本人:{}、よろしく", "「{}」に\n返信")


@pytest.mark.parametrize("frame", FRAMES)
@pytest.mark.parametrize(("kind", "spellings"), [("phone", PHONES), ("email", MAILS)])
def test_every_spelling_is_found_whole_and_nothing_beside_it(frame: str, kind: str, spellings: list[str]) -> None:
    for spelling in spellings:
        text = frame.format(spelling)
        found = [one for one in find(text, wary=True) if one.kind == kind]
        assert len(found) == 1, text
        label = re.match("TEL:?|ＴＥＬ", spelling)
        assert found[0].text.strip("\u200b") == spelling[label.end() if label else 0 :], text
        assert text[found[0].start : found[0].end] == found[0].text


def test_all_spellings_of_one_number_have_one_pseudonym() -> None:
    mobile = [
        one for one in PHONES if "3-" not in one and "三の" not in one and "0120" not in one and "0466" not in one
    ]
    mobile = [one for one in mobile if not one.startswith(("03", "０３"))]
    assert len(mobile) > 40
    for spelling in mobile:
        assert set(re.findall(r"PHONE_\d+", mask(f"090-1234-5678、{spelling}").text)) == {"PHONE_1"}, spelling


@pytest.mark.parametrize(
    "text",
    [
        "Look at example.com for more",
        "meet at noon dot dot dot",
        "★人気No.1★ example.com",
        "一二三四五六七八九十",
        "look_at_me please",
        "two or three of them, one at a time",
        "2024/03/04 10:30:12",
        "価格は1,234,567,890円",
        "12,345,678,901円の予算",
    ],
)
def test_what_only_resembles_a_spelling_is_left_alone(text: str) -> None:
    assert find(text, wary=True) == []


@pytest.mark.parametrize("piece", ["a at ", "a[at]", "〇一", "ゼロ", "one ", "O9", "\u200b", "a★", "1・", "dot ", "に"])
def test_a_hostile_text_takes_no_time(piece: str) -> None:
    start = time.process_time()
    find(piece * (100_000 // len(piece)), wary=True)
    assert time.process_time() - start < 3
