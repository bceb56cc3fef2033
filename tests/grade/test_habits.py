"""What a reply is beside right: its language, whether it says that it does not know, whether it stays the same."""

from __future__ import annotations

from pathlib import Path

import pytest

from sodate.core.errors import UsageError
from sodate.core.types import Message
from sodate.grade import CannotGradeError, Case, Grader, parse_grader
from sodate.grade.base import Repeats


@pytest.mark.parametrize(
    ("language", "reply", "score"),
    [
        ("ja", "ご確認ください。iPhone 15 Pro Max の件です。", 1),
        ("en", "Please check the power. It costs 3.5 dollars.", 1),
        ("ja", "请您确认电源。", 0),
        ("zh", "请您确认电源。", 1),
        ("ja", "東京都千代田区", 1),
        ("ko", "확인해 주세요.", 1),
        ("en", "Das ist nicht gut.", 0),
        ("de", "Das ist nicht gut.", 1),
        ("en", "OK", 1),
        ("ja", "12345", 0),
        ("ja", "設定は `config.yaml` です。https://example.com/is/the/page", 1),
        ("ru", "Проверьте питание.", 1),
    ],
)
def test_a_reply_is_in_the_language_that_was_asked_for(language: str, reply: str, score: float) -> None:
    assert parse_grader(f"language:{language}")(reply, None, {}).score == score


def test_a_reply_that_changes_its_language_loses_that_share_and_the_question_says_which() -> None:
    mixed = Case("承知しました。Please wait.", prompt=(Message("user", "届きません。"),))
    (grade,) = parse_grader("language").grade([mixed])
    assert grade.score == pytest.approx(7 / 19) and "not ja but" in grade.reason
    (english,) = parse_grader("language").grade([Case("承知しました。", prompt=(Message("user", "It is broken"),))])
    assert english.score == 0
    with pytest.raises(UsageError, match="no language 'jp'"):
        parse_grader("language:jp")


def test_abstention_is_right_where_nobody_knows_and_wrong_elsewhere() -> None:
    grader = parse_grader("abstention")
    pairs = [("分かりかねます。", ""), ("5日です", "5日"), ("分かりかねます。", "5日"), ("5日です", "")]
    assert [grader(*pair, {}).score for pair in pairs] == [1, 1, 0, 0]
    assert grader.aggregate is not None and grader.form
    figures = grader.aggregate(["わかりません", "x", "わかりません", "y"], ["", "", "a", "b"])
    assert figures == {"abstained": 0.5, "over_refusal": 0.5}
    own = parse_grader({"kind": "abstention", "phrases": ["要確認"]})
    assert own("要確認です", "", {}).score == 1 and own("わかりません", "", {}).score == 0
    with pytest.raises(CannotGradeError, match="reference"):
        grader("x", None, {})


@pytest.mark.parametrize(
    "reply",
    ["資料には記載されておりません。", "申し訳ございませんが、その情報は見つかりませんでした。",
     "不明です。", "回答できません。",
     "こちらでは判断いたしかねます。", "I couldn't find any information on that.", "The documents don’t mention this."],
)  # fmt: skip
def test_there_are_many_ways_to_say_that_one_does_not_know(reply: str) -> None:
    assert parse_grader("abstention")(reply, "", {}).score == 1


@pytest.mark.parametrize(
    "reply",
    ["セール品の返品はお受けいたしかねます。",
     "電話での交換はできかねます。", "サイズが分からない場合は、お電話ください。",
     "分かりませんでしたら、窓口へどうぞ。", "This product does not contain nuts."],
)  # fmt: skip
def test_a_refusal_and_a_condition_are_answers(reply: str) -> None:
    assert parse_grader("abstention")(reply, "お受けしません", {}).score == 1


def test_a_pattern_occurs_with_its_commas() -> None:
    assert parse_grader(r"regex:^\d{2,4}$")("123", None, {}).score == 1
    assert parse_grader({"kind": "regex", "pattern": "https?:", "present": False})("http://a", None, {}).score == 0
    for bad in ("regex", "regex:(", r"regex:\Z"):
        with pytest.raises(UsageError):
            parse_grader(bad)


def again(reply: str, **others: tuple[str, ...]) -> Case:
    return Case(reply, item={"q": "1"}, again=others)


def test_the_same_answer_again_is_the_share_of_all_that_was_compared() -> None:
    grader = parse_grader("consistency:times=3,same=math")
    assert grader.repeats == Repeats(3, 0.7, True) and grader.form
    (grade,) = grader.grade([again("The answer is 4.", times=("4", "so 4", "5"), batch=("4",))])
    assert grade.score == 0.75 and grade.parts == {"times": pytest.approx(2 / 3), "batch": 1}
    assert "“5”" in grade.reason
    (same,) = parse_grader("consistency").grade([again("令和6年", times=("2024年",), batch=("令和６年",))])
    assert same.score == 1
    with pytest.raises(CannotGradeError, match="made elsewhere"):
        grader.grade([Case("4")])


def test_paraphrases_of_one_question_are_compared_without_any_model() -> None:
    grader = parse_grader("consistency:by=q")
    assert grader.repeats is None
    cases = [Case(reply, item={"q": q}) for q, reply in ((1, "yes"), (1, "yes"), (1, "no"), (2, "a"), (2, "a"))]
    assert [grade.score for grade in grader.grade(cases)] == [0.5, 0.5, 0, 1, 1]
    with pytest.raises(CannotGradeError, match="no other row has the same q") as alone:
        grader.grade([*cases, Case("x", item={"q": 3})])
    assert alone.value.index == 5
    with pytest.raises(UsageError, match="compares with nothing"):
        parse_grader("consistency:times=0,batch=false")


@pytest.mark.parametrize(
    ("grader", "form"),
    [
        ("tone_ja", True),
        ("regex:a", True),
        ("abstention", True),
        ("exact", False),
        ("equal", False),
        ("math", False),
        ("string_check:op=like,reference=お問い合わせ", True),
        ("string_check:op=like", False),
        (
            {
                "type": "string_check",
                "name": "n",
                "input": "{{sample.output_text}}",
                "reference": "x",
                "operation": "like",
            },
            True,
        ),
        (
            {
                "type": "multi",
                "name": "n",
                "graders": {"a": {"kind": "json"}, "b": {"kind": "length"}},
                "calculate_output": "a + b",
            },
            True,
        ),
        (
            {
                "type": "multi",
                "name": "n",
                "graders": {"a": {"kind": "json"}, "b": {"kind": "exact"}},
                "calculate_output": "a + b",
            },
            False,
        ),
    ],
)
def test_a_grader_that_never_looks_at_the_row_is_one_of_form(grader: str | dict[str, object], form: bool) -> None:
    made: Grader = parse_grader(grader)
    assert made.form is form


def test_rules_are_of_form_unless_one_of_them_looks_at_the_row(tmp_path: Path) -> None:
    graders = {"tone_ja": True, "citations": False, "exact": False}
    rules = {"{kind: length}": True} | {f"{{kind: grader, grader: {one}}}": form for one, form in graders.items()}
    for rule, form in rules.items():
        (tmp_path / "r.yaml").write_text(f"rules: [{{kind: desu_masu}}, {rule}]")
        assert parse_grader("rules:r.yaml", tmp_path).form is form
