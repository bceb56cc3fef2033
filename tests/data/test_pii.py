"""Personal data: what is found, what is left alone, and that nothing takes long."""

from __future__ import annotations

import time
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sodate.data.pii import card_valid, find, my_number_valid, same_width


def kinds(text: str) -> list[tuple[str, str]]:
    return [(f.kind, f.text) for f in find(text)]


def test_the_check_digit_of_a_my_number_follows_the_ministerial_order() -> None:
    # 12345678901: from the right 1·2+0·3+9·4+8·5+7·6+6·7 = 162, 5·2+4·3+3·4+2·5+1·6 = 50; 212 mod 11 = 3; 11 - 3 = 8.
    assert my_number_valid("123456789018")
    assert not any(my_number_valid(f"12345678901{d}") for d in "012345679")
    # Remainders 0 and 1 give 0: 00000000000 sums to 0; 4 as the 6th from the right gives 4·7 = 28, 28 mod 11 = 6, so 5;
    # 8 there gives 56, 56 mod 11 = 1, so 0.
    assert my_number_valid("000000000000")
    assert my_number_valid("000004000005")
    assert my_number_valid("000008000000")
    assert not my_number_valid("12345678901")


def test_a_my_number_stands_alone() -> None:
    assert kinds("番号は1234 5678 9018です") == [("my-number", "1234 5678 9018")]
    assert kinds("１２３４－５６７８－９０１８") == [("my-number", "１２３４－５６７８－９０１８")]
    assert kinds("1123456789018") == []
    assert kinds("123456789018-1") == []
    assert kinds("注文番号：123456789018") == []
    assert kinds("order no. 123456789018") == []


def test_cards_need_prefix_length_and_luhn() -> None:
    # 4111111111111111: doubled digits 8 + 7·2 = 22, others 8·1 = 8; 30 is a multiple of 10.
    assert card_valid("4111111111111111")
    assert not card_valid("4111111111111112")
    assert card_valid("378282246310005")
    assert card_valid("3530111333300000")
    assert card_valid("5555555555554444")
    assert card_valid("2223003122003222")
    assert not card_valid("41111111111111111")  # 17 digits
    assert not card_valid("9111111111111110")  # no issuer
    assert kinds("カードは４１１１　１１１１　１１１１　１１１１で") == [
        ("card", "４１１１　１１１１　１１１１　１１１１")
    ]
    assert kinds("3782-822463-10005 と 4111111111111112") == [("card", "3782-822463-10005")]


@pytest.mark.parametrize(
    "number",
    [
        "090-1234-5678",
        "０９０－１２３４－５６７８",
        "090ー1234ー5678",
        "090−1234‐5678",
        "08012345678",
        "03-1234-5678",
        "(03)1234-5678",
        "03(1234)5678",
        "0465-12-3456",
        "0120-123-456",
        "0570-123-456",
        "+81 90-1234-5678",
        "+81-3-1234-5678",
        "(415) 555-2671",
        "415-555-2671",
        "+1 415 555 2671",
        "1-800-555-0199",
        "+44 20 7946 0958",
        "020 7946 0958",
        "07700 900123",
    ],
)
def test_telephone_numbers_are_found_whole(number: str) -> None:
    assert kinds(f"はい、{number} です") == [("phone", number)]


@pytest.mark.parametrize(
    "text",
    [
        "注文番号 03-1234-5678",
        "order #415-555-2671",
        "2024-05-06 10:30",
        "03-04-2024",
        "12,000円",
        "1234567890",
        "0312345678",
        "ISBN978-4-1234-5678-9",
        "AB-0312-345678",
        "192.168.100.200",
        "1.2.3",
        "3-0で勝った",
        "第3回 1/2 50%",
    ],
)
def test_other_numbers_are_left_alone(text: str) -> None:
    assert kinds(text) == []


def test_ten_digits_in_a_row_are_a_phone_only_next_to_a_word_that_says_so() -> None:
    assert kinds("電話：0312345678") == [("phone", "0312345678")]
    assert kinds("call 4155552671 now") == [("phone", "4155552671")]


def test_mail_addresses_are_found_in_either_width() -> None:
    assert kinds("taro.y+x@mail.example.co.jp.") == [("email", "taro.y+x@mail.example.co.jp")]
    assert kinds("ｔａｒｏ＠ｅｘａｍｐｌｅ．ｃｏｍまで") == [("email", "ｔａｒｏ＠ｅｘａｍｐｌｅ．ｃｏｍ")]
    assert kinds("<a@b.org>,(c@d.net)") == [("email", "a@b.org"), ("email", "c@d.net")]
    assert kinds("user@localhost @handle a@ @b.com") == []


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("田中様", "田中"),
        ("昨日、山田太郎さんが来た", "山田太郎"),
        ("東京本社の佐藤 花子様へ", "佐藤 花子"),
        ("鬼塚様", "鬼塚"),
        ("スミスさんに聞く", "スミス"),
        ("氏名：御手洗\u3000潔", "御手洗\u3000潔"),
        ("私の名前は山田花子です。", "山田花子"),
        ("四月朔日と申します", "四月朔日"),
        ("担当の鈴木が伺います", "鈴木"),
        ("作者は田中健一だ", "田中健一"),
        ("フリガナ：タナカ\u3000タロウ", "タナカ\u3000タロウ"),
        ("お客様 桜木花道様", "桜木花道"),
        ("お客様の桜木様からです", "桜木"),
        ("ご契約者様 桜木 花道 様", "桜木 花道"),
        ("お客様名 桜木花道", "桜木花道"),
        ("店長の蓬田さんに", "蓬田"),
        ("友人の東雲くんと", "東雲"),
        ("営業部の佐藤です。", "佐藤"),
        ("私は田中です。", "田中"),
        ("田中です。お世話になっております", "田中"),
        ("佐藤課長にお伝えください", "佐藤"),
        ("妻の花子が受け取ります", "花子"),
        ("担当の蓬田が伺います", "蓬田"),
        ("先日は森氏に伺いました", "森"),
        ("私は神宮寺 健一と申します", "神宮寺 健一"),
        ("四月朔日太郎さんから", "四月朔日太郎"),
        ("Dear Anna Smith,\nhello", "Anna Smith"),
        ("Best regards,\nTom Baker", "Tom Baker"),
        ("Hi Xiulan,\nok", "Xiulan"),
        ("My name is Xiulan Okonkwo.", "Xiulan Okonkwo"),
        ("Yesterday Emily Jones called", "Emily Jones"),
        ("ask Mr. Brown's son", "Brown"),
        ("Customer name: Siobhan O'Neil", "Siobhan O'Neil"),
        ("I'm Anna, hello", "Anna"),
    ],
)
def test_names_are_found_without_their_honorific(text: str, name: str) -> None:
    assert kinds(text) == [("name", name)]


@pytest.mark.parametrize(
    "text",
    [
        "お客様の声",
        "皆様へ",
        "担当者様",
        "同様の仕様で多様な模様",
        "本屋さん",
        "お医者さん",
        "社長さん",
        "ユーザーさん",
        "森は静かだ",
        "原因は何か",
        "名前は何ですか",
        "東京の中央区",
        "お客様 各位",
        "会社の同僚さんと",
        "私は学生です。",
        "私は東京の会社員です。",
        "担当の部署が確認します",
        "営業部の方針です",
        "営業課長と部長",
        "お名前は不要です。",
        "受取人は家族です。",
        "宛名は空欄で結構です。",
        "成長の原動力となった",
        "千葉です。",
        "届かない様です",
        "Dear Customer,\nthanks",
        "Dear Sir or Madam,",
        "Hello World.",
        "Best Buy",
        "The New York Times wrote",
        "Thank you.\nOrder again",
        "I am Happy",
        "This is Great",
    ],
)
def test_roles_and_plain_words_are_no_names(text: str) -> None:
    assert kinds(text) == []


@pytest.mark.parametrize(
    "address",
    [
        "東京都新宿区西新宿2-8-1",
        "〒160-0023 東京都新宿区西新宿２－８－１",
        "横浜市西区みなとみらい2-3-1",
        "大阪府大阪市北区梅田三丁目1番3号",
        "札幌市中央区北一条西二丁目",
        "埼玉県さいたま市大宮区桜木町1丁目7番5号 パークハイツ301号室",
        "東京都千代田区丸の内一丁目9番1号 丸の内ビル3階",
        "〒160-0023",
        "12 Baker Street, London NW1 6XE",
        "742 Evergreen Terrace, Apt 4, Springfield, IL 62704",
        "1600 Pennsylvania Ave",
        "Leeds LS1 4DY",
        "P.O. Box 123",
    ],
)
def test_addresses_are_found_whole(address: str) -> None:
    assert kinds(f"住所：{address} です") == [("address", address)]


@pytest.mark.parametrize(
    "text",
    [
        "東京都の人口",
        "大阪市内の3店舗",
        "札幌市は3-1で勝った",
        "第3地区の5番目",
        "12 Monkeys",
        "Open 9 to 5 at Main Street",
    ],
)
def test_places_are_no_addresses(text: str) -> None:
    assert kinds(text) == []


PIECES = [
    "田中",
    "様",
    "さん",
    "東京都港区芝",
    "1-2-3",
    "丁目",
    "090-1234-5678",
    "a@b.co",
    "@",
    "-",
    "ー",
    "１２",
    " ",
    "　",
    "\n",
    "。",
]
PIECES += [
    "Dear ",
    "Anna ",
    "Smith",
    "Best regards,\n",
    "12 Elm Street",
    "4111111111111111",
    "123456789018",
    "+81 ",
    "氏名：",
    "ｶﾞ",
    "①",
]


@given(st.one_of(st.lists(st.sampled_from(PIECES), max_size=20).map("".join), st.text(max_size=80)))
def test_findings_are_in_order_apart_and_point_into_the_original(text: str) -> None:
    end = 0
    for f in find(text):
        assert end <= f.start < f.end <= len(text)
        assert text[f.start : f.end] == f.text
        end = f.end


@given(st.text(max_size=80))
def test_folding_keeps_the_length(text: str) -> None:
    assert len(same_width(text)) == len(text)


@given(st.text(alphabet="abc@.09", max_size=20))
def test_width_makes_no_difference(text: str) -> None:
    wide = "".join(chr(ord(c) + 0xFEE0) for c in text)
    assert unicodedata.normalize("NFKC", wide) == text
    assert [(f.kind, f.start, f.end) for f in find(wide)] == [(f.kind, f.start, f.end) for f in find(text)]


HOSTILE = [
    "1-",
    "0",
    "a@",
    "a",
    "東京都",
    "市1-1",
    "あ",
    "Aa ",
    "田",
    "田中 ",
    "様",
    "+1 (2) ",
    "1 Aa ",
    "@a.",
    "〒",
    "0 ",
    "1234 ",
]
HOSTILE += [
    "(03) ",
    "Dear ",
    "一丁目",
    "ーー1",
    "Thanks\n",
    "名前は",
    "ああああ1-1",
    "ア",
    " ",
    "\n",
    "a.",
    "東京都港区芝1丁目",
    "担当の田",
]


@pytest.mark.parametrize("piece", HOSTILE)
def test_a_hostile_text_of_100_kb_takes_no_time(piece: str) -> None:
    start = time.process_time()
    find(piece * (100_000 // len(piece)))
    assert time.process_time() - start < 3  # 0.4 s on a quiet machine; a quadratic rule would take minutes
