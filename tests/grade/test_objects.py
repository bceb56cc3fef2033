"""OpenAI's graders as objects: templates, each kind, formulas, and metrics beside an independent library."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sodate.core.errors import SodateError, UsageError
from sodate.grade import CannotGradeError, Case, formulas, parse_grader, sandbox, templates
from sodate.grade.outcome import Usage
from sodate.grade.reading import read
from tests.grade.scripted import Scripted, check, scored, value

# ── templates ────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("{{item.a}}/{{ sample.output_text }}", "1/{\"x\": {\"y\": [10, \"ふ\"]}}"),
        ("{{item.deep.list[1].name}}", "second"),
        ("{{item['with space']}}{{item.質問}}", "は?"),
        ("{{sample.output_json.x.y[1]}}", "ふ"),
        ("{{item.deep}}", json.dumps({"list": [{"name": "first"}, {"name": "second"}]})),
        ("{{item.nothing}} {{item.yes}}", "null true"),
        ("{{sample.choices[0].message.role}}", "assistant"),
        ("no hole { } here", "no hole { } here"),
    ],
)  # fmt: skip
def test_a_template_takes_text_as_it_is_and_all_else_as_json(template: str, text: str) -> None:
    item = {"a": 1, "deep": {"list": [{"name": "first"}, {"name": "second"}]}, "with space": "は", "質問": "?",
            "nothing": None, "yes": True}  # fmt: skip
    templates.check(template)
    assert templates.render(template, Case('{"x": {"y": [10, "ふ"]}}', item=item)) == text


def test_a_reply_that_looks_like_a_template_is_never_read_as_one() -> None:
    assert templates.render("{{sample.output_text}}", Case("{{item.key}}", item={"key": "secret"})) == "{{item.key}}"


@pytest.mark.parametrize(
    "template", ["{{reference}}", "{{item}}", "{{sample.tokens}}", "{{item.a | upper}}", "{{item.a", "{{item..a}}",
                 "{{}}", "{{items.a}}", "{{item[a]}}"],
)  # fmt: skip
def test_what_no_row_can_fill_is_refused_when_the_grader_is_made(template: str) -> None:
    with pytest.raises(UsageError, match="input") as refused:
        read(check(input=template))
    assert (refused.value.code, refused.value.param) == ("bad_grader", "grader.input")


def test_a_missing_column_is_the_rows_fault_and_missing_json_is_the_replys() -> None:
    (row,) = read(check(reference="{{item.absent}}")).judge([Case("x")], None)
    (reply,) = read(check(input="{{sample.output_json.a}}")).judge([Case("x", item={"reference_answer": "1"})], None)
    (field,) = read(check(input="{{sample.output_json.a}}")).judge([Case("{}", item={"reference_answer": "1"})], None)
    assert [one.fault for one in (row, reply, field)] == ["invalid_variable_error", "sample_parse_error",
                                                         "invalid_variable_error"]  # fmt: skip
    assert [one.blames_reply for one in (row, reply, field)] == [False, True, True]
    grader = parse_grader(check(input="{{sample.output_json.a}}"))
    assert grader("no JSON", "1", {}).score == 0
    with pytest.raises(CannotGradeError, match=r"item\.absent"):
        parse_grader(check(reference="{{item.absent}}"))("x", None, {})


# ── string_check, text_similarity ────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("operation", "reply", "reference", "passed"),
    [
        ("eq", "Paris", "Paris", 1), ("eq", "Paris ", "Paris", 0), ("ne", "a", "b", 1), ("neq", "a", "a", 0),
        ("like", "in Paris.", "Paris", 1), ("like", "in paris.", "Paris", 0), ("ilike", "in PARIS.", "paris", 1),
        ("like", "Paris", "in Paris", 0), ("eq", "", "", 1),
    ],
)  # fmt: skip
def test_string_check_compares_letter_by_letter(operation: str, reply: str, reference: str, passed: int) -> None:
    assert value(check(operation), reply, {"reference_answer": reference}) == passed


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"operation": "equals"}, "grader.operation"), ({"extra": 1}, "grader.extra"),
        ({"input": None}, "grader.input"), ({"name": ""}, "grader.name"),
        ({"type": "strings"}, "grader.type"), ({"input": 5}, "grader.input"),
    ],
)  # fmt: skip
def test_a_wrong_field_is_named(change: dict[str, Any], param: str) -> None:
    with pytest.raises(UsageError) as refused:
        read({**check(), **change})
    assert refused.value.param == param


def test_an_eval_wants_a_threshold_for_a_similarity_and_tuning_has_no_cosine() -> None:
    similar = {"type": "text_similarity", "name": "s", "input": "{{sample.output_text}}", "reference": "{{item.a}}",
               "evaluation_metric": "cosine"}  # fmt: skip
    with pytest.raises(UsageError, match="pass_threshold"):
        read(similar, "evals")
    with pytest.raises(UsageError, match="cosine is for evals"):
        read(similar, "tuning")
    assert read({**similar, "pass_threshold": 0.8}, "evals").threshold == 0.8
    assert value(similar, "ab", {"a": "ab"}) == pytest.approx(1)
    with pytest.raises(UsageError, match="no metric"):
        read({**similar, "evaluation_metric": "rouge_6"})


# ── python ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def program(source: str) -> dict[str, Any]:
    return {"type": "python", "name": "own", "source": source}


def test_a_program_reads_sample_and_item_in_its_jail() -> None:
    source = 'def grade(sample, item):\n    return len(sample["output_text"]) + item["k"] + sample["output_json"]["n"]'
    assert value(program(source), '{"n": 4}', {"k": 0.5}) == 12.5


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("def grade(sample, item):\n    return item['absent']", "KeyError"),
        ("def grade(sample, item):\n    return 'good'", "not a number"),
        ("def grade(sample, item):\n    return float('nan')", "can't be read"),
    ],
)  # fmt: skip
def test_a_program_that_fails_has_no_value_and_never_a_zero(source: str, said: str) -> None:
    (outcome,) = read(program(source)).judge([Case("x")], None)
    assert outcome.fault == "python_grader_runtime_error"
    assert said in outcome.reason
    with pytest.raises(CannotGradeError):
        parse_grader(program(source))("x", None, {})


@pytest.mark.parametrize(
    ("source", "said"),
    [("def grade(:\n", "line 1"), ("x = 1", "defines no grade"), ("def grade(s, i): pass\n" + "#" * 256_000, "256 kB")],
)  # fmt: skip
def test_a_source_that_can_never_grade_is_refused_unrun(source: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        read(program(source))


# ── multi ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def multi(formula: str, **graders: Any) -> dict[str, Any]:
    return {"type": "multi", "name": "all", "graders": graders, "calculate_output": formula}


@pytest.mark.parametrize(
    ("formula", "result"),
    [
        ("0.5 * a + 0.5 * b", 0.5), ("1 - 2 - 3", -4), ("2 ^ 3 ^ 2", 512), ("-2 ^ 2", -4), ("2 ^ -1", 0.5),
        ("min(a, b, 3) + max(a, b)", 1), ("abs(-a) + floor(1.7) + ceil(1.2)", 4), ("exp(0) + sqrt(4) + log(1)", 3),
        ("(a + 1) * (b + 2) / 4", 1), (".5e1 - +a", 4), ("2 * -a", -2), ("min ( a )", 1), ("8 / 2 / 2", 2),
    ],
)  # fmt: skip
def test_a_formula_binds_as_on_paper(formula: str, result: float) -> None:
    grader = multi(formula, a=check(), b=check("ne"))
    assert value(grader, "x", {"reference_answer": "x"}) == pytest.approx(result)


@pytest.mark.parametrize(
    ("formula", "said"),
    [
        ("", "ends too early"), ("a +", "ends too early"), ("a b", "“b” at character 3"), ("a ** b", "does not belong"),
        ("c + 1", "no grader “c”"), ("pow(a, 2)", "no function “pow”"), ("abs(a, b)", "takes one value"),
        ("a % 2", "“%” at character 3"), ("(a", "ends too early"), ("a)", "does not belong"), ("min()", "not belong"),
        ("__import__('os')", "“'”"), ("a.real", "“.”"), ("(" * 60 + "a" + ")" * 60, "nested more than"),
        ("a" * 5000, "more than 4096"), ("1" + "^1" * 60, "nested more than"),
    ],
)  # fmt: skip
def test_what_is_no_formula_says_where(formula: str, said: str) -> None:
    with pytest.raises(UsageError, match=said.replace("(", r"\(").replace("*", r"\*")) as refused:
        read(multi(formula, a=check(), b=check()))
    assert refused.value.code == "bad_grader"


@pytest.mark.parametrize(
    "formula", ["a / 0", "log(0)", "sqrt(0 - 1)", "exp(99999)", "10 ^ 400", "(0 - 1) ^ 0.5", "0 ^ -1"]
)
def test_a_formula_without_a_value_says_so(formula: str) -> None:
    (outcome,) = read(multi(formula, a=check())).judge([Case("x", item={"reference_answer": "x"})], None)
    assert outcome.fault == "other_error"
    with pytest.raises(ArithmeticError):
        formulas.read(formula, ["a"])({"a": 1.0})


def test_a_multi_grader_names_its_parts_and_holds_no_other() -> None:
    grader = multi("a + tone", a=check(), tone=scored())
    (outcome,) = read(grader).judge([Case("x", item={"reference_answer": "x", "q": ""})], Scripted('{"result": 0.5}'))
    assert (outcome.value, dict(outcome.parts)) == (1.5, {"a": 1, "tone": 0.5})
    assert outcome.usage == {"tiny@1": Usage(7, 3)}
    with pytest.raises(UsageError, match="no other") as refused:
        read(multi("a", a=multi("b", b=check())))
    assert refused.value.param == "grader.graders.a"
    with pytest.raises(UsageError) as refused:
        read(multi("a", a=check("equals")))
    assert refused.value.param == "grader.graders.a.operation"
    with pytest.raises(UsageError, match="formula"):
        read(multi("1", **{"a-b": check()}))
    with pytest.raises(UsageError, match="for fine-tuning"):
        read(multi("a", a=check()), "evals")


def test_a_part_that_fails_is_not_counted_as_zero() -> None:
    grader = multi("(a + b) / 2", a=check(), b=check(reference="{{item.absent}}"))
    (outcome,) = read(grader).judge([Case("x", item={"reference_answer": "x"})], None)
    assert (outcome.value, outcome.fault) == (0, "invalid_variable_error")
    assert outcome.reason.startswith("b: ")


def test_values_beyond_the_ends_are_cut_off_as_scores() -> None:
    grader = parse_grader(multi("3 * a", a=check()))
    assert (grader("x", "x", {}).score, grader("x", "y", {}).score) == (1, 0)


def test_our_kinds_stand_beside_openais_and_read_no_file_when_they_come_from_elsewhere(tmp_path: Path) -> None:
    schema = {"type": "object", "required": ["id"]}
    grader = multi("a * b", a={"kind": "json_schema", "schema": schema}, b=check("like", reference="7"))
    assert parse_grader(grader)('{"id": 7}', None, {}).score == 1
    (tmp_path / "s.json").write_text(json.dumps(schema), "utf-8")
    ours = {"type": "json_schema", "schema": str(tmp_path / "s.json")}
    assert parse_grader({"kind": "json_schema", "schema": str(tmp_path / "s.json")})("{}", None, {}).score == 0
    for place in ("tuning", "evals"):
        with pytest.raises(UsageError, match="no grader"):
            read(ours, place, parse_grader)
    assert (
        read({"type": "json_schema", "schema": schema}, "evals", parse_grader).judge([Case("{}")], None)[0].value == 0
    )


def test_a_grader_may_stand_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "g.json").write_text(json.dumps(check()), "utf-8")
    (tmp_path / "g.yaml").write_text("kind: fields\nmode: exact\n", "utf-8")
    assert parse_grader("g.json", tmp_path)("x", "x", {}).score == 1
    assert parse_grader(str(tmp_path / "g.yaml"))('{"a": 1}', '{"a": 1}', {}).score == 1
    with pytest.raises(UsageError, match="cannot be read"):
        parse_grader("absent.json", tmp_path)


# ── what a request may not do ────────────────────────────────────────────────────────────────────────────────────────


def test_open_holes_are_looked_at_once_and_a_template_grows_to_an_end() -> None:
    with pytest.raises(UsageError, match="not closed"):
        read(check(input="{{" * 200_000))
    grader = read(check(input="{{item.a}}" * 50_000, reference=""))
    with pytest.raises(SodateError, match="longer than 4000000 characters") as caught:
        grader.judge([Case("", item={"a": "x" * 1_000_000})], None)
    assert caught.value.code == "grader_failed"
    assert value(check(input="{{item.a}}" * 3, reference="xyxyxy"), "", {"a": "xy"}) == 1


@pytest.mark.parametrize("metric", ["fuzzy_match", "rouge_l"])
def test_a_text_too_long_to_compare_is_a_zero_of_the_reply_and_an_error_of_the_reference(metric: str) -> None:
    grader = parse_grader(f"text_similarity:metric={metric}")
    long, short = "ab " * 3_000_000, "ab"
    assert grader(long, short, {}).score == 0 and "9000000 characters" in grader(long, short, {}).reason
    with pytest.raises(CannotGradeError, match="this reference has 9000000"):
        grader(short, long, {})
    asked = {"type": "text_similarity", "name": "s", "input": "{{sample.output_text}}", "reference": "ab",
             "evaluation_metric": metric}  # fmt: skip
    assert value(asked, "ab " * 1_000_000, {}) == 0 and value(asked, "ab", {}) == 1


def test_a_number_beyond_all_floats_is_no_reward() -> None:
    (outcome,) = read(program("def grade(sample, item): return 10 ** 400")).judge([Case("")], None)
    assert outcome.fault == "python_grader_runtime_error" and len(outcome.reason) < 200


def test_the_programs_of_a_multi_grader_share_the_time_of_one(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def run(source: str, jobs: Any, limits: sandbox.Limits) -> list[sandbox.Answer]:
        asked.append(limits.seconds)
        return [sandbox.Answer(value=1.0)]

    monkeypatch.setattr(sandbox, "run", run)
    own = program("def grade(sample, item): return 1")
    for count, seconds in ((1, 120), (8, 15), (50, 2)):
        asked.clear()
        parts = {f"p{n}": own for n in range(count)}
        (outcome,) = read(multi("p0", **parts)).judge([Case("x", item={})], None)
        assert outcome.value == 1 and asked == [seconds] * count
