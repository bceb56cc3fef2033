"""The protocol: batches, several right replies, what can't be judged, one object in evaluation and rewards."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from sodate.core.errors import SodateError, UsageError
from sodate.core.types import Message
from sodate.evaluate.items import EvalItem
from sodate.evaluate.run import evaluate
from sodate.grade import CannotGradeError, Case, Grade, Grader, case_of, parse_grader
from sodate.grade.spec import KINDS
from sodate.train.rewards import Answer, Reward, Task, parse_rewards


def test_the_best_of_several_right_replies_counts() -> None:
    exact = parse_grader("exact")
    assert [
        grade.score for grade in exact.grade([Case("b", ("a", "b")), Case("c", ("a", "b")), Case("a", ("a",))])
    ] == [1, 0, 1]
    similar = parse_grader("text_similarity:metric=char_f1")
    assert similar.grade([Case("ab", ("xy", "abc"))])[0].score == pytest.approx(4 / 5)
    assert parse_grader("fields")('{"a": 1}', '{"a": 2}', {"reference_answers": [{"a": 1}]}).score == 1
    assert parse_grader("number")("5", "3", {"reference_answers": ["4", 5]}).score == 1
    assert parse_grader("number")("5", None, {"reference_answers": ["5"]}).score == 1


def test_what_must_differ_must_differ_from_all() -> None:
    differs = parse_grader("string_check:op=ne")
    assert [grade.score for grade in differs.grade([Case("b", ("a", "b")), Case("c", ("a", "b"))])] == [0, 1]


def test_a_batch_is_judged_as_its_cases_are_alone() -> None:
    cases = [Case("yes", ("yes",)), Case("no", ("yes",)), Case('{"a": 1}', ('{"a": 1}',)), Case("12", ("12",))]
    for spec in ("exact", "label", "json", "text_similarity", "length:max=2", "honest", "banned_words:yes"):
        grader = parse_grader(spec)
        assert grader.grade(cases) == [grader.grade([case])[0] for case in cases]
        assert grader.grade(cases) == [grader(case.reply, case.references[0], case.item) for case in cases]
        assert grader.grade([]) == []


def test_a_case_that_cannot_be_judged_is_named_by_its_place() -> None:
    def fault(reply: str, reference: str | None, item: Any) -> Grade:
        return Grade(1 / len(reply), "")

    one = Grader("one", fault, needs_reference=False)
    many = Grader("many", needs_reference=False, many=lambda cases: [fault(case.reply, None, {}) for case in cases])
    for grader in (one, many):
        with pytest.raises(CannotGradeError, match="ZeroDivisionError: division by zero") as caught:
            grader.grade([Case("a"), Case("b"), Case("")])
        assert caught.value.index == 2 and isinstance(caught.value, SodateError)
    with pytest.raises(CannotGradeError, match="this row has none") as caught:
        parse_grader("exact").grade([Case("a", ("a",)), Case("b")])
    assert caught.value.index == 1


def test_evaluation_and_rewards_use_the_same_object_on_the_same_cases() -> None:
    seen: list[list[Case]] = []

    def many(cases: Any) -> list[Grade]:
        seen.append(list(cases))
        return [Grade(len(case.reply) / 10, "") for case in cases]

    grader = Grader("mine", needs_reference=False, many=many)
    prompt = (Message("user", "Q"),)
    result = evaluate({"a": ["xx", "xxxx"]}, [EvalItem(prompt, "r", None, {"k": 1})] * 2, [grader])
    task = Task([1], "r", {"k": 1}, "t:1", prompt)
    rewards, _ = Reward(((1.0, grader),))([Answer(task, [5], "xx"), Answer(task, [5], "xxxx")])
    assert [grade.score for grade in result.results[0].grades] == rewards == [0.2, 0.4]
    assert seen[0] == seen[1] == [case_of("xx", "r", {"k": 1}, prompt), case_of("xxxx", "r", {"k": 1}, prompt)]


def test_every_kind_is_callable_with_one_reply() -> None:
    for kind in ("exact", "label", "json", "fields", "number", "honest", "string_check", "text_similarity"):
        assert kind in KINDS
        assert isinstance(parse_grader(kind)('{"a": 1}', '{"a": 1}' if kind != "number" else "1", {}), Grade)


def test_an_object_makes_the_same_grader_as_the_short_form(tmp_path: Path) -> None:
    reply, reference = '{"a": 1, "b": 2}', '{"a": 1, "b": 3}'
    for short, made in (
        ("fields:mode=exact,lenient=true", {"kind": "fields", "mode": "exact", "lenient": True}),
        ("length:min=1,max=9", {"kind": "length", "min": 1, "max": 9}),
        ("honest:idk=0.5", {"kind": "honest", "idk": 0.5}),
        ("string_check:op=like", {"kind": "string_check", "op": "like"}), ("exact", {"kind": "exact"}),
    ):  # fmt: skip
        one = parse_grader(short)
        for form in (made, json.dumps(made), yaml.safe_dump(made, default_flow_style=True, sort_keys=False)):
            other = parse_grader(form)
            assert (one.name, one(reply, reference, {})) == (other.name, other(reply, reference, {}))
    assert parse_grader({"kind": "exact", "name": "same"}).name == "same"
    schema = {"type": "object", "required": ["a"], "nullable": True}
    inline = parse_grader({"kind": "json_schema", "schema": schema, "name": "order"})
    assert inline(reply, None, {}).score == 1 and inline("{}", None, {}).score == 0 and "order" in inline.notes[0]
    (tmp_path / "s.json").write_text(json.dumps(schema), "utf-8")
    assert parse_grader({"kind": "json_schema", "schema": "s.json"}, tmp_path)("{}", None, {}).score == 0
    assert parse_grader({"kind": "banned_words", "words": ["絶対", "a, b"]})("a, b", None, {}).score == 0
    (tmp_path / "r.yaml").write_text("rules: [{kind: grader, grader: {kind: length, max: 2}}]", "utf-8")
    assert parse_grader("rules:r.yaml", tmp_path)("abcd", None, {}).score == 0.5
    weighed = parse_rewards(["exact", '3*{"kind": "length", "max": 2}'], Path())
    assert weighed([Answer(Task([1], "ab", {}, "t:1"), [5], "ab")])[0] == [1.0]


@pytest.mark.parametrize("given", [
    {}, {"kind": "no_such"}, {"kind": "exact", "mode": "x"}, {"kind": "fields", "mode": "other"}, "{kind: [", "{a: 1}",
    {"kind": "fields", "mode": ["f1"]}, {"kind": "json_schema"}, {"kind": "json_schema", "schema": [1]}, {"kind": 3},
    {"kind": "banned_words", "words": []}, {"kind": "length", "min": -1}, {"kind": "length", "min": None},
])  # fmt: skip
def test_an_object_that_is_no_grader_is_refused(given: Any) -> None:
    with pytest.raises(UsageError):
        parse_grader(given)
