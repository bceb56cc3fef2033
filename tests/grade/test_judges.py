"""Graders that ask a model: what is asked, what is read, and what is no answer."""

from __future__ import annotations

import math

import pytest

from sodate.core.errors import SodateError, UsageError
from sodate.grade import CannotGradeError, Case, parse_grader
from sodate.grade.outcome import Usage
from sodate.grade.reading import read
from tests.grade.scripted import Scripted, scored, value


@pytest.mark.parametrize(
    ("answer", "number"),
    [('{"steps": [], "result": 0.7}', 0.7), ('{"result": 3}', 1.0), ('{"result": -3}', 0.0), ("0.25", 0.25),
     ('{"result": "0.5"}', 0.5)],
)  # fmt: skip
def test_a_judges_number_is_read_and_clipped(answer: str, number: float) -> None:
    judge = Scripted(answer)
    (outcome,) = read(scored()).judge([Case("reply", item={"q": "why"})], judge)
    assert (outcome.value, outcome.usage) == (number, {"tiny@1": Usage(7, 3)})
    roles = [(message.role, message.content) for message in judge.asked[0]]
    assert roles == [("system", "Grade."), ("user", "why: reply")]
    assert judge.schema["properties"]["result"]["maximum"] == 1


@pytest.mark.parametrize(
    "answer", ["good", '{"result": "good"}', '{"result": true}', '{"steps": ["a', '{"result": 1e999}']
)
def test_a_judge_that_says_nothing_readable_gives_no_grade(answer: str) -> None:
    (outcome,) = read(scored()).judge([Case("reply", item={"q": "why"})], Scripted(answer))
    assert (outcome.value, outcome.fault) == (0, "model_grader_parse_error")
    with pytest.raises(CannotGradeError, match="nothing that can be read"):
        parse_grader(scored(), judges=Scripted(answer))("reply", None, {"q": "why"})


def test_a_range_is_scaled_to_a_score_and_its_middle_passes() -> None:
    grader = scored(range=[1, 7])
    assert value(grader, "x", {"q": ""}, Scripted('{"result": 4}')) == 4
    assert parse_grader(grader, judges=Scripted('{"result": 4}'))("x", None, {"q": ""}).score == pytest.approx(0.5)
    assert read(grader).threshold == 4
    with pytest.raises(UsageError, match="below the second"):
        read(scored(range=[1, 1]))


def test_only_cases_whose_templates_close_are_asked_about() -> None:
    judge = Scripted('{"result": 1}')
    outcomes = read(scored()).judge([Case("a"), Case("b", item={"q": "?"})], judge)
    assert [one.fault for one in outcomes] == ["invalid_variable_error", None]
    assert len(judge.asked) == 1


def test_a_label_passes_when_it_is_among_the_passing_ones() -> None:
    grader = {"type": "label_model", "name": "tone", "model": "tiny", "labels": ["polite", "rude"],
              "passing_labels": ["polite"],
              "input": [{"role": "user", "content": "{{sample.output_text}}"}]}  # fmt: skip
    judge = Scripted('{"steps": [], "result": "polite"}', '{"result": "rude"}', '{"result": "odd"}')
    outcomes = read(grader).judge([Case("a"), Case("b"), Case("c")], judge)
    assert [one.value for one in outcomes] == [1, 0, 0]
    assert [one.fault for one in outcomes] == [None, None, "model_grader_parse_error"]
    with pytest.raises(UsageError, match="kind, which labels has not"):
        read({**grader, "passing_labels": ["kind"]})
    with pytest.raises(UsageError, match="for evals"):
        read(grader, "tuning")


def test_without_models_a_judge_is_refused_rather_than_guessed() -> None:
    with pytest.raises(SodateError, match="no model can be asked"):
        parse_grader(scored()).grade([Case("x", item={"q": ""})])


@pytest.mark.parametrize(
    ("answers", "score"),
    [(("A", "B"), 1.0), (("B", "A"), 0.0), (("A", "A"), 0.5), (("B", "B"), 0.5), (("tie", "tie"), 0.5),
     (("A", "tie"), 0.5)],
)  # fmt: skip
def test_a_pair_is_judged_in_both_orders_and_disagreement_is_a_tie(answers: tuple[str, str], score: float) -> None:
    judge = Scripted(*(f'{{"steps": [], "result": "{one}"}}' for one in answers))
    grader = parse_grader(
        {"kind": "pair_model", "model": "m", "criteria": "Politer?", "engine": "llamacpp"}, judges=judge
    )
    grade = grader("ours", "theirs", {})
    assert grade.score == score and (grader.compares, grader.asks, judge.engine) == (True, ("m",), "llamacpp")
    first, second = (prompt[0].content for prompt in judge.asked)
    assert first.index("ours") < first.index("theirs") and second.index("theirs") < second.index("ours")
    assert "Politer?" in first


def test_a_pair_that_the_model_does_not_judge_gives_no_grade_and_names_the_case() -> None:
    judge = Scripted('{"result": "A"}', '{"result": "B"}', "as an AI", '{"result": "A"}')
    with pytest.raises(CannotGradeError, match="nothing that can be read") as failed:
        parse_grader("pair_model:m", judges=judge).grade([Case("a", ("b",)), Case("c", ("d",))])
    assert failed.value.index == 1


@pytest.mark.parametrize(
    ("answer", "number"),
    [('Sure. ```json\n{"result": 0.25}\n```', 0.25), ('{"steps": ["a {b}"], "result": 0.5}', 0.5), ("0.75", 0.75)],
)
def test_an_answer_of_an_engine_without_forms_is_read_out_of_its_words(answer: str, number: float) -> None:
    judge = Scripted(answer)
    assert value(scored(range=[0, 1], engine="llamacpp"), "x", {"q": ""}, judge) == number
    assert judge.engine == "llamacpp"


def test_an_engine_is_for_our_own_commands() -> None:
    for place in ("tuning", "evals"):
        with pytest.raises(UsageError, match="engine"):
            read({**scored(), "engine": "upstream:http://127.0.0.1:1/v1"}, place)


def test_a_reward_model_gives_the_chance_that_people_prefer_the_reply() -> None:
    grader = parse_grader("reward_model:r", judges=Scripted())
    assert grader("1.5", "0.5", {}).score == pytest.approx(1 / (1 + math.exp(-1)))
    assert grader("2", "2", {}).score == 0.5


def test_perplexity_is_the_geometric_mean_of_token_probabilities() -> None:
    grade = parse_grader("perplexity:p", judges=Scripted())("1.3862943611198906", None, {})  # 2 tokens of 1/2: 2 ln 2
    assert grade.score == pytest.approx(0.5) and "perplexity 2 over 2 tokens" in grade.reason
