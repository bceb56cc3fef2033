"""The tone of Japanese: what is wrong, in which sentence, and what to write instead."""

from __future__ import annotations

from pathlib import Path

import pytest

from sodate.core.errors import UsageError
from sodate.grade import parse_grader
from sodate.grade.keigo import mistakes
from sodate.grade.tone import House, findings


@pytest.mark.parametrize(
    ("sentence", "check", "instead"),
    [
        ("先生がいらっしゃられます。", "double", "いらっしゃいます"),
        ("社長がおっしゃられました。", "double", "おっしゃいました"),
        ("召し上がられますか。", "double", "召し上がります"),
        ("ご覧になられましたか。", "double", "ご覧になりました"),
        ("お帰りになられる際は、", "double", "お帰りになる"),
        ("お求めになられた商品です。", "double", "お求めになった"),
        ("資料をご拝見しました。", "double", "拝見"),
        ("田中社長様へ", "double", "社長"),
        ("各位様", "double", "各位"),
        ("ご注文は以上でよろしかったでしょうか。", "baito", "よろしいでしょうか"),
        ("千円からお預かりいたします。", "baito", "円お預かり"),
        ("お会計のほう、三千円です。", "baito", "お会計"),
        ("こちらがレシートになります。", "baito", "こちらがレシートでございます"),
        ("返金という形になります。", "baito", "です"),
        ("なるほどですね。", "baito", "さようでございますか"),
        ("お名前を頂戴できますか。", "baito", "お名前を伺えますか"),
        ("全然大丈夫です。", "baito", "問題ございません"),
        ("ご確認してください。", "confused", "ご確認ください"),
        ("ご確認していただけますか。", "confused", "ご確認いただけ"),
        ("こちらはご利用できます。", "confused", "ご利用になれます"),
        ("ご利用されるお客様", "confused", "ご利用になる"),
        ("資料を拝見されましたか。", "confused", "ご覧になりました"),
        ("受付で伺ってください。", "confused", "受付にお尋ねください"),
        ("お客様が申されました。", "confused", "お客様がおっしゃいました"),
        ("こちらに記入いたしてください。", "confused", "なさってください"),
        ("弊社の社長がおっしゃいました。", "confused", "弊社の社長が申し"),
        ("お待ちしてください。", "confused", "お待ちください"),
        ("弊社の田中様が伺います。", "in_group", "弊社の田中"),
        ("担当の佐藤様より折り返しご連絡いたします。", "in_group", "担当の佐藤"),
        ("読まさせていただきます。", "sasete", "読ませ"),
        ("お釣りのほうお返しします。", "baito", "お釣り"),
        ("こちら、ホットコーヒーになります。", "baito", "こちら、ホットコーヒーでございます"),
        ("先生が参られました。", "confused", "いらっしゃいました"),
        ("冷めないうちにいただいてください。", "confused", "うちに召し上がってください"),
        ("弊社社長がおっしゃいました。", "confused", "弊社社長が申し"),
    ],
)
def test_a_mistake_is_named_with_what_to_write(sentence: str, check: str, instead: str) -> None:
    (found,) = list(mistakes(sentence))
    assert (found.check, found.instead) == (check, instead)


@pytest.mark.parametrize(
    "sentence",
    [
        "お客様がいらっしゃいます。",
        "お伺いします。",
        "お召し上がりになりますか。",
        "お見えになりました。",
        "弊社のお客様がお待ちです。",
        "こちらが無料になります。",
        "在庫より新品のほうが安いです。",
        "担当者にお願いしてください。",
        "ご案内できます。",
        "動かさせていただきます。",
        "確認させていただきます。",
        "お世話になります。",
        "ご希望の方はお申し込みください。",
        "お客様各位",
        "こちらの資料のほうが詳しいです。",
        "大きいお部屋のほうをご希望でしょうか。",
        "お客様のほうでご用意いただくものはございません。",
        "こちらは来月から新しい住所になります。",
        "先生様々なご意見をいただきました。",
        "御社様式の書類をお送りください。",
        "弊社社長が申しましたとおりです。",
        "社長が参りますので、少々お待ちください。",
        "弊社より田中様へご連絡いたします。",
        "弊社へ田中様がいらっしゃる日程です。",
        "弊社の提携先の山田様からご紹介をいただきました。",
        "弊社サービスご利用の田中様へのお知らせです。",
        "当社の株主様へ",
        "弊社のたくさんの商品をご覧ください。",
        "弊社の受付で先生がいらっしゃるのをお待ちします。",
        "私の先生がおっしゃったことです。",
        "私は部長のおっしゃるとおりにいたします。",
        "弊社は御社のおっしゃる条件で問題ありません。",
        "弊社の資料はホームページでご覧になれます。",
        "当店の料理は店内で召し上がれます。",
        "当社は何でもおっしゃっていただける職場です。",
        "弊社の担当者が伺います。",
        "お待ちください。",
        "ご利用になれます。",
        "私はお客様がおっしゃったとおりにします。",
        "弊社ではお客様がご覧になった商品を確認します。",
        "このたびはご迷惑をおかけし、申し訳ございません。",
        "お手数ですが、電源プラグをお抜きになり、五分ほどお待ちいただけますでしょうか。",
    ],
)
def test_what_the_guideline_lets_pass_is_not_reported(sentence: str) -> None:
    assert list(mistakes(sentence)) == []


def test_a_reply_is_graded_by_its_sentences() -> None:
    reply = (
        "お問い合わせありがとうございます。ご確認してください。すぐに対応する。\n- 電源を切る。\n"
        "社長は「それは違う。」と申しました。"
    )
    grade = parse_grader("tone_ja")(reply, None, {})
    assert grade.score == pytest.approx(3 / 5)
    assert grade.parts["confused"] == grade.parts["mixing"] == pytest.approx(4 / 5) and grade.parts["double"] == 1
    assert "sentence 2" in grade.reason and "ご確認してください → ご確認ください" in grade.reason
    assert "すぐに対応する → すぐに対応します" in grade.reason
    assert parse_grader("tone_ja")("", None, {}).score == 0 and parse_grader("tone_ja").form


def test_styles_are_those_of_the_house() -> None:
    assert [one.check for one in findings("自分で調べろ。ところどころ。", House())] == ["mixing"]
    mixed = "これは本である。明日は行きます。明後日も行きます。"
    assert [one.number for one in findings(mixed, House())] == [0]
    assert [one.number for one in findings(mixed, House(style="plain"))] == [1, 2]
    assert [one.number for one in findings(mixed, House(style="consistent"))] == [0]
    assert findings("これは本である。明日も読む。", House(style="consistent")) == []


def test_sasete_may_stand_as_often_as_the_house_says() -> None:
    reply = "ご案内させていただきます。ご説明させていただきます。確認させて頂きます。"
    once, often = House(usual=False), House(usual=False, sasete=3)
    found = [(one.number, one.instead) for one in findings(reply, once)]
    assert found == [(1, "説明いたします"), (2, "確認いたします")]
    assert findings(reply, often) == []


def test_somebody_else_who_lets_know_or_shows_is_no_sasete() -> None:
    reply = "ご意見を寄せていただき、感謝いたします。結果を知らせていただけますか。資料も見せていただけると助かります。"
    assert findings(reply, House()) == []
    twice = "本日ご説明させていただきます。読ませていただければ幸いです。確認させていただければ幸いです。"
    assert [(one.number, one.instead) for one in findings(twice, House())] == [(1, "…でき"), (2, "確認でき")]


@pytest.mark.parametrize(
    "reply",
    [
        "納品書を同封いたしましたので、\nご査収くださいますよう\nお願い申し上げます。",
        "ご注文が確定した\n時点でメールをお送りします。",
        "(1) アプリを開く\n(2) ログインする\n手順3：電源を切る\n以上です。",
        "返品の可否：できない\n\n以上、ご確認ください。",
        "> 返品できない\n> と言われた。\n\n上記の件、確認いたしました。",
        "詳細はこちらです。\n※一部地域を除く。",
        "私のことはお気になさらず。ありがとう。よろしくお願いします。",
    ],
)
def test_wrapped_lines_items_and_notes_are_no_plain_sentences(reply: str) -> None:
    assert findings(reply, House()) == []


def test_a_plain_line_that_stands_alone_is_one() -> None:
    assert [one.number for one in findings("ご連絡します。\n\n明日までに対応する\n", House())] == [1]


def test_one_word_is_written_in_one_way(tmp_path: Path) -> None:
    assert findings("サーバを止めます。", House()) == []  # one way only
    assert [(one.found, one.instead) for one in findings("サーバーとサーバです。", House())] == [("サーバ", "サーバー")]
    (tmp_path / "house.yaml").write_text(
        "words: {お客さま: [お客様], サーバ: [サーバー]}\nallow: [お客様各位]\nchecks: [spelling]\n", "utf-8"
    )
    grader = parse_grader("tone_ja:house.yaml", tmp_path)
    grade = grader("お客様のサーバーです。お客様各位です。ご確認してください。", None, {})
    assert grade.score == pytest.approx(2 / 3) and "お客様 → お客さま" in grade.reason
    assert list(grade.parts) == ["spelling"]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("style: casual", "style"),
        ("checks: [keigo]", "keigo"),
        ("sasete: -1", "sasete"),
        ("wrds: {}", "wrds"),
        ("[]", r"h\.yaml: It must be an object\."),
    ],
)
def test_a_house_that_is_not_understood_is_refused_by_its_key(tmp_path: Path, text: str, why: str) -> None:
    (tmp_path / "h.yaml").write_text(text)
    with pytest.raises(UsageError, match=why) as refused:
        parse_grader("tone_ja:h.yaml", tmp_path)
    assert refused.value.code == "bad_rules"
    with pytest.raises(UsageError, match="cannot be read"):
        parse_grader("tone_ja:absent.yaml", tmp_path)
