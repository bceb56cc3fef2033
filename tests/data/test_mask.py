"""Personal data replaced: stable names, what is never kept, numbers of papers, and companies told apart."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sodate.data.identity import corporate_valid, iban_valid, licence_valid, machine_check
from sodate.data.mask import Pseudonyms, mask, mask_values
from sodate.data.pii import find, find_all
from tests.data.test_pii import PIECES


def kinds(text: str) -> list[tuple[str, str]]:
    return [(one.kind, one.text) for one in find(text)]


def test_check_digits_are_worked_by_hand() -> None:
    # 3012345678: 3·5+0·4+1·3+2·2+3·7+4·6+5·5+6·4+7·3+8·2 = 153; 153 mod 11 = 10; 11 - 10 = 1, then the copy.
    assert licence_valid("301234567810") and not licence_valid("301234567820")
    assert not licence_valid("991234567810")  # no public safety commission has this code
    # 1000000000000 less its first digit: zeros, 9 - 0 = 9. 700110005901: from the right 1·1+0·2+9·1+5·2+0·1+0·2+0·1+1·2
    # +1·1+0·2+0·1+7·2 = 37; 37 mod 9 = 1; 9 - 1 = 8.
    assert corporate_valid("9000000000000") and corporate_valid("8700110005901")
    assert not corporate_valid("1700110005901")
    # The example of ICAO Doc 9303: L898902C3 has 6.
    assert machine_check("L898902C3") == 6
    assert iban_valid("GB82 WEST 1234 5698 7654 32") and not iban_valid("GB83 WEST 1234 5698 7654 32")


@pytest.mark.parametrize(
    ("text", "kind", "value"),
    [
        ("免許証番号は301234567810です", "driver-licence", "301234567810"),
        ("運転免許証の番号：第３０１２３４５６７８１０号", "driver-licence", "３０１２３４５６７８１０"),
        ("301234567812", "driver-licence", "301234567812"),
        ("旅券番号 TK1234567", "passport", "TK1234567"),
        ("パスポートはMU7654321です", "passport", "MU7654321"),
        ("Passport No. AB1234567", "passport", "AB1234567"),
        ("みずほ銀行 新宿支店 普通 1234567", "bank-account", "1234567"),
        ("口座番号：１２３４５６７", "bank-account", "１２３４５６７"),
        ("IBAN GB82 WEST 1234 5698 7654 32", "bank-account", "GB82 WEST 1234 5698 7654 32"),
        ("基礎年金番号は1234-567890です", "pension", "1234-567890"),
        ("被保険者番号 12345678", "health-insurance", "12345678"),
        ("在留カード AB12345678CD を提示", "residence-card", "AB12345678CD"),
        ("昭和60年1月2日生まれ", "birthday", "昭和60年1月2日"),
        ("生年月日：平成元年十二月三日", "birthday", "平成元年十二月三日"),
        ("生年月日 S60.1.2", "birthday", "S60.1.2"),
        ("1985年1月2日生", "birthday", "1985年1月2日"),
        ("She was born on January 2, 1985.", "birthday", "January 2, 1985"),
        ("マイナンバーは1234 5678 9012", "my-number", "1234 5678 9012"),
    ],
)
def test_numbers_of_papers_and_birthdays_are_found(text: str, kind: str, value: str) -> None:
    assert kinds(text) == [(kind, value)]


def test_a_symbol_and_number_are_of_the_bank_or_of_the_insurance() -> None:
    assert kinds("ゆうちょ銀行 記号 12340 番号 12345671") == [("bank-account", "12340"), ("bank-account", "12345671")]
    assert [kind for kind, _ in kinds("健康保険証の記号 21700023 番号 48 枝番 01")] == ["health-insurance"] * 3


@pytest.mark.parametrize(
    "text", ["法人番号は8700110005901です", "登録番号 T8700110005901", "T8700110005901", "法人番号：8-7001-1000-5901"]
)
def test_the_numbers_of_companies_are_told_apart_and_stay(text: str) -> None:
    assert kinds(text) == []
    done = mask(text)
    assert done.text == text and not done.counts and sum(done.kept.values()) == 1


@pytest.mark.parametrize(
    "text", ["2024年1月2日に届きました", "平成30年4月1日施行", "普通の品", "記号と番号", "生年月日は？"]
)
def test_plain_dates_and_words_are_left_alone(text: str) -> None:
    assert find_all(text) == []


def test_one_value_has_one_pseudonym_and_a_my_number_none() -> None:
    names = Pseudonyms()
    done = mask(
        "田中様と田中　太郎様、０９０－１２３４－５６７８（09012345678）、鈴木様。マイナンバー 123456789018", names
    )
    assert done.text == "顧客A様と顧客B様、PHONE_1（PHONE_1）、顧客C様。マイナンバー [my-number]"
    assert done.counts == {"name": 3, "phone": 2, "my-number": 1}
    assert names.known == {
        "顧客A": "田中",
        "顧客B": "田中　太郎",
        "PHONE_1": "０９０－１２３４－５６７８",
        "顧客C": "鈴木",
    }
    assert not any("9018" in value for value in names.known.values())


def test_a_name_announced_once_is_replaced_in_the_whole_document() -> None:
    done = mask_values(
        {
            "messages": [
                {"role": "user", "content": "御手洗直美様からです"},
                {"role": "assistant", "content": "御手洗直美の注文", "tool_calls": [
                    {"id": "call_1", "type": "function",
                     "function": {"name": "find_order",
                                  "arguments": '{"電話": "\\u0030901234-5678", "name": "御手洗直美"}'}}]},
            ],
            "phone": 9012345678,
            "order": 9012345678,
        }
    )  # fmt: skip
    call = done.value["messages"][1]["tool_calls"][0]
    assert done.value["messages"][0]["content"] == "顧客A様からです"
    assert done.value["messages"][1]["content"] == "顧客Aの注文"
    assert call["function"] == {"name": "find_order", "arguments": '{"電話": "PHONE_1", "name": "顧客A"}'}
    assert (call["id"], done.value["phone"], done.value["order"]) == ("call_1", "PHONE_2", 9012345678)


def test_a_projects_own_words_are_replaced_in_any_width() -> None:
    done = mask("案件Ｘ－７７とproject x-77の件", words=["X-77"])
    assert done.text == "案件LISTED_1とproject LISTED_1の件"


def test_a_column_that_holds_names_is_replaced_whole() -> None:
    assert mask("ジョンソン・リー", label="氏名").text == "顧客A"
    assert mask("未定", label="氏名").text == "未定"
    assert mask("9012345678", label="電話番号").counts == {"phone": 1}
    assert mask("123456789012", label="マイナンバー").text == "[my-number]"
    assert mask("返品したい", label="本文").text == "返品したい"


def test_standins_look_like_what_they_stand_for_and_are_stable() -> None:
    names = Pseudonyms(style="standin")
    done = mask("田中 太郎様 090-1234-5678 taro@example.co.jp 4111 1111 1111 1111 090-1234-5678", names).text
    assert "田中" not in done and "1234" not in done and "taro" not in done and "4111" not in done
    assert [kind for kind, _ in kinds(done)] == ["name", "phone", "email", "card", "phone"]
    again = [value for kind, value in kinds(done) if kind == "phone"]
    assert again[0] == again[1] and len(again[0]) == len("090-1234-5678")


@given(st.lists(st.sampled_from(PIECES), max_size=12).map("".join))
def test_what_is_masked_holds_nothing_more_to_mask(text: str) -> None:
    once = mask(text).text
    assert mask(once, Pseudonyms()).text == once
