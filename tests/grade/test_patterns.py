"""Patterns are ECMA-262. What each one matches below is what Node 20 says with the `u` flag, not Python."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sodate.core.errors import UsageError
from sodate.grade import parse_grader
from sodate.grade.ecma import NotEcmaError, translate
from sodate.grade.patterns import found
from tests.grade.test_grade import schema_file, score


@pytest.mark.parametrize(("pattern", "matches", "others"), [
    # Digits, words, spaces and borders are ASCII's, or ECMA's own.
    (r"^\d{4}-\d{2}-\d{2}$", ["2026-03-02"], ["２０２６-０３-０２", "2026-03-02\n", "a2026-03-02"]),
    (r"^\w+$", ["a_1"], ["é", "あ", "１"]), (r"^\W$", ["é", "あ"], ["a"]), (r"^\D$", ["５", "x"], ["5"]),
    (r"^\s$", [" ", "\t", "\u3000", "\ufeff", "\xa0", "\u2028"], ["\x1c", "\x85", "a"]),
    (r"^\S$", ["\x85"], ["\ufeff"]),
    (r"\bx", ["x", "éx", " x"], ["ax"]), (r"a\B", ["ab"], ["a", "aé"]), (r"^[\s\S]$", ["\n", "a"], [""]),
    (r"^[^\d]$", ["a"], ["5"]), (r"^[\D]$", ["a"], ["5"]), (r"^[^\S\n]$", [" "], ["\n", "a"]),
    (r"^[\w-]$", ["-", "a"], ["+"]),
    (r"^[\d-x]$", ["-", "x", "5"], ["w"]),
    # The ends, and what a dot is
    (r"^a$", ["a"], ["a\n", "b\na\nc"]), (r"^.$", ["a", "😀", "\x85"], ["\n", "\r", "\u2028", "\u2029", ""]),
    (r"(?m:^a$)", ["b\na\nc", "a\r"], ["ba"]), (r"^(?s:.)$", ["\n"], [""]), (r"(?i:x)y", ["Xy"], ["XY"]),
    (r"^(?i:a(?-i:b))$", ["Ab"], ["AB"]),
    # Escapes
    (r"^\u3042$", ["あ"], ["い"]), (r"^\ud83d\ude00$", ["😀"], ["a"]), (r"^\u{1F600}$", ["😀"], ["a"]),
    (r"^\x41$", ["A"], ["a"]),
    (r"^\cJ$", ["\n"], ["J"]), (r"^\0$", ["\0"], ["0"]), (r"^[\b]$", ["\b"], ["b"]), (r"^\/\-\_$", ["/-_"], ["/"]),
    (r"^\t\v\f$", ["\t\v\f"], [""]), (r"^\p{Script=Hiragana}+$", ["あい"], ["ア"]),
    (r"^\p{L}\P{L}$", ["a1", "あ!"], ["1a"]),
    (r"^[\p{L}\d]+$", ["a1"], ["-"]), (r"^[^\p{L}]$", ["1"], ["a"]),
    # Classes: brackets and ampersands in them are themselves.
    (r"^[[a]$", ["[", "a"], ["b"]), (r"^[a-z&&b]+$", ["a&"], ["-"]), (r"^[]$", [], ["", "a"]),
    (r"^[^]$", ["a", "\n"], [""]),
    (r"^[a-]$", ["-"], ["b"]), (r"^[ぁ-ん😀-🙏]$", ["ん", "😁"], ["ア"]), (r"^[.\]]$", [".", "]"], ["a"]),
    # Groups and what follows them
    (r"^(?<a>x|y)\k<a>$", ["xx"], ["xy"]),
    (r"^(?<年>\d{4})-\k<年>$", ["2026-2026"], ["2026-2027"]),
    (r"^(a|b)\1$", ["bb"], ["ab"]), (r"^\1(a)$", ["a"], ["aa"]),
    (r"(?<=a+)b", ["aab"], ["b"]),
    (r"(?<!a)b", ["b"], ["ab"]), (r"^(?!.*\d).+$", ["abc"], ["a1"]), (r"^(?=a)ab?$", ["a"], ["b"]),
    (r"^a{2,3}?$", ["aaa"], ["a"]),
    (r"^(?:|a)$", ["", "a"], ["b"]), (r"^a{$", ["a{"], ["a"]), (r"^]}$", ["]}"], [""]), (r"^()$", [""], ["a"]),
])  # fmt: skip
def test_a_pattern_means_what_it_means_in_javascript(pattern: str, matches: list[str], others: list[str]) -> None:
    assert [found(pattern, text) for text in (*matches, *others)] == [True] * len(matches) + [False] * len(others)


@pytest.mark.parametrize("pattern", [
    r"\Ax", r"x\Z", r"x\z", r"(?P<a>x)", r"(?P<a>x)(?P=a)", r"x(?i)y", r"(?x) a", r"(?#note)a", r"(?>a)", r"a++",
    r"a*+", r"a?+",
    r"a{,3}", r"(?(1)a)", r"\h", r"\e", r"\Q.\E", r"\N{DIGIT ONE}", r"\G", r"(", r")", r"[a", r"*a", r"a{2}{3}",
    r"[z-a]", r"\k<x>",
    r"\2(a)", r"\01", r"\8", r"(?=a)*", r"a|*", r"\ud83d", r"\u12", r"\x4", r"\c1", r"\p{", "a\\", r"\U0001F600",
    r"(?<1>a)", r"^*",
])  # fmt: skip
def test_what_only_other_languages_know_is_refused(pattern: str, tmp_path: Path) -> None:
    with pytest.raises(NotEcmaError):
        translate(pattern)
    with pytest.raises(UsageError, match="ECMA-262"):
        parse_grader(schema_file(tmp_path, {"pattern": pattern}), tmp_path)
    (tmp_path / "r.yaml").write_text(json.dumps({"rules": [{"kind": "pattern", "pattern": pattern}]}), "utf-8")
    with pytest.raises(UsageError, match="ECMA-262"):
        parse_grader("rules:r.yaml", tmp_path)


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=6))
def test_text_with_every_mark_escaped_matches_itself(text: str) -> None:
    pattern = "".join(c if c.isalnum() or not c.isascii() or c in "\n\r" else f"\\{c}" for c in text)
    assert found(f"^{pattern}$", text)
    assert found("^" + "".join(f"[\\u{{{ord(c):x}}}]" for c in text) + "$", text)


def test_patterns_of_schemas_rules_and_property_names_are_one_language(tmp_path: Path) -> None:
    for schema, wrong in (
        ({"pattern": r"^\d$"}, '"５"'), ({"patternProperties": {r"^\d$": False}}, '{"5": 1}'),
        ({"propertyNames": {"pattern": r"^\d$"}}, '{"５": 1}'), ({"format": "regex"}, r'"\\Z"'),
        ({"patternProperties": {r"^\w$": {}}, "additionalProperties": False}, '{"é": 1}'),
        ({"patternProperties": {r"^\w$": {}}, "unevaluatedProperties": False}, '{"é": 1}'),
    ):  # fmt: skip
        assert score(schema_file(tmp_path, schema), wrong, base=tmp_path) == 0, schema
    (tmp_path / "r.yaml").write_text(r"rules: [{kind: pattern, pattern: '^\d{4}$'}]", "utf-8")
    assert [score("rules:r.yaml", reply, base=tmp_path) for reply in ("2026", "２０２６", "2026\n")] == [1, 0, 0]


@pytest.mark.parametrize("pattern", [r"^(a|aa)+$", r"^(?=a)(a|aa)+$", r"^(?=a)(a|aa)+\1$", r"(?<=x)(a+)+b$"])
def test_a_pattern_that_explodes_ends_soon_and_the_reply_is_judged(pattern: str, tmp_path: Path) -> None:
    spec = schema_file(tmp_path, {"pattern": pattern})
    (tmp_path / "r.yaml").write_text(json.dumps({"rules": [{"kind": "pattern", "pattern": pattern}]}), "utf-8")
    started = time.process_time()
    assert (
        score(spec, json.dumps("a" * 60 + "b"), base=tmp_path)
        == score("rules:r.yaml", "a" * 60 + "b", base=tmp_path)
        == 0
    )
    assert time.process_time() - started < 5
