"""Rules files: weights, what must hold, and graders inside them."""

from __future__ import annotations

from pathlib import Path

import pytest

from sodate.core.errors import UsageError
from sodate.grade import parse_grader
from tests.grade.test_grade import schema_file, score

RULES = """
rules:
  - {kind: length, min: 10, max: 60}
  - {kind: desu_masu, min_ratio: 0.5, weight: 2}
  - kind: sections
    sections:
      - {name: apology, any_of: [申し訳, お詫び]}
      - {name: check, any_of: [ご確認]}
  - {kind: pattern, pattern: '\\d', present: false}
  - {kind: banned_words, words: [絶対], must: true}
"""


def test_rules_are_weighted_and_a_must_is_a_must(tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text(RULES, "utf-8")
    good = "ご不便をおかけし申し訳ございません。電源をご確認ください。"
    assert score("rules:r.yaml", good, base=tmp_path) == 1
    # Wrong order: one of two sections in sequence, weight 1 of 6.
    turned = "電源をご確認ください。ご不便をおかけし申し訳ございません。"
    grade = parse_grader("rules:r.yaml", tmp_path)(turned, None, {})
    assert grade.score == pytest.approx(1 - 0.5 / 6)
    assert grade.parts["sections"] == 0.5 and "out of order" in grade.reason
    assert score("rules:r.yaml", good + "絶対です。", base=tmp_path) == 0


def test_a_rule_may_be_any_grader_with_paths_beside_the_rules(tmp_path: Path) -> None:
    folder = tmp_path / "sub"
    folder.mkdir()
    schema_file(folder, {"type": "object"})
    (folder / "r.yaml").write_text(
        "rules: [{kind: grader, grader: 'json_schema:s.json'}, {kind: grader, grader: exact}]"
    )
    assert score("rules:sub/r.yaml", "{}", "{}", base=tmp_path) == 1
    assert parse_grader("rules:sub/r.yaml", tmp_path).needs_reference
    for spec in ("rules:r.yaml", " rules:r.yaml", "rules"):  # no file may name itself
        (folder / "r.yaml").write_text(f"rules: [{{kind: grader, grader: '{spec}'}}]")
        with pytest.raises(UsageError, match="cannot be a rules file"):
            parse_grader("rules:sub/r.yaml", tmp_path)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("rules: [{kind: length, maximum: 3}]", "maximum"),
        ("rules: [{kind: lenght}]", "length, desu_masu"),
        ("rules: [{kind: length, min: 5, max: 3}]", "min is greater"),
        ("rules: []", "rules"),
        ("rules: [{kind: length, min: few}]", r"rules\[0\]\.min\b"),
        ("rules: [{kind: length}, {kind: length}]", "same name"),
        ("rules: [{kind: pattern, pattern: '('}]", "not a regular expression"),
        ("rules: {", "cannot be read"),
        # What folds to nothing stands in every text: it would be banned, or found, always.
        (
            'rules: [{kind: banned_words, words: ["ok", "\u3000"]}]',
            r"r\.yaml: .*rules\[0\]\.words\[1\]: .*no char",
        ),
        ('rules: [{kind: banned_words, words: ["\ufe0f"]}]', r"words\[0\]: .*no character"),
        (
            'rules: [{kind: sections, sections: [{name: a, any_of: [" "]}]}]',
            r"rules\[0\]\.sections\[0\]\.any_of\[0\]: .*no character",
        ),
    ],
)
def test_a_rules_file_with_anything_unknown_is_refused(tmp_path: Path, text: str, why: str) -> None:
    (tmp_path / "r.yaml").write_text(text, "utf-8")
    with pytest.raises(UsageError, match=why):
        parse_grader("rules:r.yaml", tmp_path)


def test_modifiers_before_a_whole_pattern_count_for_all_of_it(tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text("rules:\n  - {kind: pattern, pattern: '(?im)^one\\n^two$'}\n", "utf-8")
    assert score("rules:r.yaml", "zero\nONE\nTwo\nthree", base=tmp_path) == 1
    assert score("rules:r.yaml", "zero ONE\nTwo", base=tmp_path) == 0
