"""The label grader: what counts as the same label, and what never does."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sodate.evaluate.items import EvalItem
from sodate.evaluate.run import evaluate
from sodate.grade import parse_grader
from sodate.grade.labels import macro_f1


def score(reply: str, reference: str, *labels: str) -> float:
    return parse_grader("label").with_references(labels)(reply, reference, {}).score


@pytest.mark.parametrize(("reply", "reference"), [
    ("「Ｒefund」。\n", "refund"), ("**Refund**", "refund"), ("`refund`.", "refund"), ("\"Refund.\"", "refund"),
    ("“A*”", "A*"),
    ("？", "?"), ("返 品", "返品"), ("キャンセル", "きゃんせる"), ("ｷｬﾝｾﾙ", "キャンセル"), ("  .net ", ".NET"),
    ("A-1", "A‐1"),
    ("high\u00a0risk", "high risk"), ("A\ufeff", "A"), ("『返品』です".removesuffix("です"), "返品"),
])  # fmt: skip
def test_what_stands_around_a_label_does_not_count(reply: str, reference: str) -> None:
    assert score(reply, reference) == 1


DIFFERENT = (
    "A", "A*", "A+", "A-", "*A", "A?", "A!", "(A)", "[A]", "<A>", "{A}", "A,", "A;", "A:", "#A", "@A", ".A", "A B",
    "AB", "A/B", "1",
    "①", "10²", "102", "½", "1⁄2", "", "?", "!", "C", "C#", "C++", "unk", "<unk>", "NET", ".NET", "ABC", "㎏", "kg",
    "がっこう",
    "かっこう", "は", "ば", "A A", "０", "Ⅷ", "VIII", "e", "é",
)  # fmt: skip


def test_labels_that_differ_never_match() -> None:
    for reply, reference in itertools.permutations(DIFFERENT, 2):
        assert score(reply, reference) == 0, (reply, reference)
        assert score(reply, reference, *DIFFERENT) == 0
    assert score("It is refund", "refund") == 0


ALIKE = [("US", "us"), ("Polish", "polish"), ("Ａ", "A"), ("ハシ", "はし"), ("A.", "A"), ('"A"', "A"),
         ("*A*", "A"), ("A B", "A  B"),
         ("ガス", "がす"), ("a-b", "a‐b")]  # fmt: skip


@pytest.mark.parametrize(("one", "other"), ALIKE)
def test_two_labels_of_the_file_that_fold_alike_are_told_apart(one: str, other: str) -> None:
    labels = (one, other, "third")
    assert score(one, one, *labels) == score(other, other, *labels) == 1
    assert score(one, other, *labels) == score(other, one, *labels) == 0
    assert score("THIRD", "third", *labels) == 1  # the others stay as they were
    assert macro_f1([one, other], [other, one])["macro_f1"] == 0
    assert macro_f1([one, other], [one, other])["macro_f1"] == 1


def test_the_stricter_comparison_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SODATE_LANG", "en")
    (note,) = parse_grader("label").with_references(["US", "us", "third", "US"]).notes
    assert "US, us" in note and "letter by letter" in note
    assert parse_grader("label").with_references(["US", "third"]).notes == ()
    items = [EvalItem((), name) for name in ("US", "us", "third")]
    result = evaluate({"a": ["us", "us", "Third"]}, items, [parse_grader("label")])
    assert [grade.score for grade in result.results[0].grades] == [0, 1, 1]
    assert [str(one) for one in result.notes] == [str(note)] and result.to_json()["notes"] == [str(note)]


def test_a_rule_that_is_a_label_grader_knows_the_labels_too(tmp_path) -> None:
    (tmp_path / "r.yaml").write_text("rules: [{kind: grader, grader: label}]", "utf-8")
    rules = parse_grader("rules:r.yaml", tmp_path)
    assert rules("us", "US", {}).score == 1
    assert rules.with_references(["us", "US"])("us", "US", {}).score == 0 and rules.with_references(["us", "US"]).notes


@given(st.text(max_size=8), st.text(max_size=8))
def test_a_label_matches_itself_and_two_known_labels_never_match(one: str, other: str) -> None:
    assert score(one, one, one, other) == 1
    if one.strip() and score(one, other, one, other) == 1:
        assert score(other, one, one, other) == 1  # canonically the same text


def test_macro_f1_worked_by_hand() -> None:
    # a: tp 1, said 2, true 2 → 2/4; b: tp 1, said 1, true 1 → 1; "nonsense" is a miss for a only.
    assert macro_f1(["a", "nonsense", "b"], ["a", "a", "b"])["macro_f1"] == pytest.approx((2 / 3 + 1) / 2)
    assert macro_f1(["a", "b", "a"], ["a", "a", "b"])["macro_f1"] == pytest.approx((2 / 4 + 0) / 2)
    assert macro_f1(["?", "", "!"], ["?", "?", "!"])["macro_f1"] == pytest.approx((2 / 3 + 1) / 2)
