"""Names are found whatever form their kanji have, and every finding is a piece of the text that was given."""

from __future__ import annotations

import pytest

from sodate.core import variants
from sodate.data import pii
from sodate.data.mask import mask


@pytest.mark.parametrize(
    "name",
    [
        *("髙橋太郎", "山﨑花子", "渡邉健一", "渡邊健一", "齋藤", "齊藤", "濵田", "德永", "中嶋", "中嶌", "澤田"),
        *(
            "櫻井",
            "廣瀬",
            "瀧沢",
            "田中眞由美",
            "山本惠子",
            "吉\U000e0100田",
            "渡辺\U000e0101",
            "\ufa10本",
            "𠮷田",
            "⻑田",
            "\ufa19田",
            "礒部",
            "\U0002123d屋",
            "緖方",
            "薗部",
        ),
    ],
)
@pytest.mark.parametrize("frame", ["{}様、いつもありがとうございます。", "氏名：{}", "本日は{}さんが伺います。"])
def test_a_name_is_found_whatever_form_its_kanji_have(name: str, frame: str) -> None:
    text = frame.format(name)
    (found,) = pii.find(text)
    assert (found.kind, found.text) == ("name", name)
    assert text[found.start : found.end] == name
    assert mask(text).text == frame.format("顧客A")


def test_marks_written_apart_move_no_other_finding() -> None:
    text = "か\u3099くせい 高橋太郎様 taro@example.com ﾃﾞﾝﾜは 090-1234-5678"
    assert [(f.kind, f.text) for f in pii.find(text)] == [
        ("name", "高橋太郎"),
        ("email", "taro@example.com"),
        ("phone", "090-1234-5678"),
    ]


def test_a_finding_never_ends_beyond_the_text() -> None:
    for text in ("田中健一", "氏名：滝沢健一", "田中健一 "):
        assert all(f.end <= len(text) and text[f.start : f.end] == f.text for f in pii.find(text))
        assert mask(text).text.count("健") == 0


def test_every_variant_stays_one_character() -> None:
    every = "".join(map(chr, [*range(0x2E80, 0x2FE0), *range(0x4E00, 0xA000), *range(0xF900, 0xFB00)]))
    assert len(variants.folded(every)) == len(every)
    assert variants.folded(variants.folded(every)) == variants.folded(every)
