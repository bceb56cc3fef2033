"""/v1/fine_tuning/alpha/graders, asked by the unmodified client and read as raw JSON."""

from __future__ import annotations

from typing import Any

import openai
import pytest

from tests.serve.running import Running

CHECK = {"type": "string_check", "name": "same", "input": "{{sample.output_text}}",
         "reference": "{{item.reference_answer}}", "operation": "eq"}  # fmt: skip
JUDGE = {"type": "score_model", "name": "judge", "model": "orders", "range": [0, 10],
         "input": [{"role": "user", "content": "{{sample.output_text}}"}]}  # fmt: skip
PATH = "/v1/fine_tuning/alpha/graders"


def run(served: Running, grader: dict[str, Any], sample: str = "x", item: Any = None) -> dict[str, Any]:
    answer = served.http().post(f"{PATH}/run", json={"grader": grader, "model_sample": sample, "item": item})
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def test_the_client_validates_and_runs_a_grader(served: Running) -> None:
    graders = served.client().fine_tuning.alpha.graders
    assert graders.validate(grader=CHECK).grader.name == "same"  # type: ignore[union-attr, arg-type]
    done = graders.run(grader=CHECK, model_sample="Paris", item={"reference_answer": "Paris"})  # type: ignore[arg-type]
    assert (done.reward, done.metadata.type, done.sub_rewards) == (1.0, "string_check", {})
    assert done.metadata.errors.other_error is False
    assert done.metadata.token_usage is None


def test_every_fault_is_named_and_is_no_error_of_the_request(served: Running) -> None:
    faults = {
        "invalid_variable_error": run(served, CHECK),
        "sample_parse_error": run(served, {**CHECK, "input": "{{sample.output_json.a}}", "reference": ""}),
        "other_error": run(served, {"type": "multi", "name": "m", "graders": {"a": {**CHECK, "reference": "x"}},
                                    "calculate_output": "a / 0"}),
        "python_grader_runtime_error": run(served, {"type": "python", "name": "p",
                                                    "source": "def grade(sample, item):\n    return 1 / 0"}),
    }  # fmt: skip
    for fault, answer in faults.items():
        errors = answer["metadata"]["errors"]
        assert answer["reward"] == 0
        assert {name for name, value in errors.items() if value is True} == {fault}
    assert "ZeroDivisionError" in errors["python_grader_runtime_error_details"]
    assert set(errors) >= {"formula_parse_error", "truncated_observation_error", "unresponsive_reward_error",
                           "model_grader_server_error_details", "python_grader_server_error_type"}  # fmt: skip


def test_a_judge_is_any_model_that_is_served_and_its_tokens_are_told(served: Running) -> None:
    answer = run(served, {"type": "multi", "name": "m", "graders": {"a": {**CHECK, "reference": "x"}, "j": JUDGE},
                          "calculate_output": "a"})  # fmt: skip
    told = answer["model_grader_token_usage_per_model"]
    assert list(told) == ["orders@1"]
    assert told["orders@1"]["total_tokens"] > told["orders@1"]["prompt_tokens"] > 0
    assert answer["metadata"]["sampled_model_name"] == "orders@1"
    assert answer["sub_rewards"]["a"] == 1
    # A model of random weights is held to the form all the same, unless it is cut off within it.
    assert 0 <= answer["sub_rewards"]["j"] <= 10


@pytest.mark.parametrize(
    ("grader", "param"),
    [
        ({**CHECK, "operation": "equals"}, "grader.operation"),
        ({**CHECK, "input": "{{reference}}"}, "grader.input"),
        ({"type": "json_schema", "schema": "/etc/hostname"}, "grader.type"),
        ({"type": "rules", "file": "rules.yaml"}, "grader.type"),
        ({"kind": "python", "file": "/etc/passwd"}, "grader.type"),
        ({"type": "multi", "name": "m", "graders": {"a": CHECK}, "calculate_output": "b"}, "grader.calculate_output"),
        ({}, "grader.type"),
    ],
)  # fmt: skip
def test_what_is_no_grader_is_a_400_that_names_the_field(served: Running, grader: dict[str, Any], param: str) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        served.client().fine_tuning.alpha.graders.validate(grader=grader)  # type: ignore[arg-type]
    assert (refused.value.code, refused.value.param) == ("bad_grader", param)


def test_a_judge_that_is_not_served_is_a_404(served: Running) -> None:
    answer = served.http().post(f"{PATH}/run", json={"grader": {**JUDGE, "model": "gpt-9"}, "model_sample": "x"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "model_not_found")


def test_half_a_character_in_a_reply_or_an_error_is_graded_and_told(served: Running) -> None:
    """Neither a tokenizer nor an answer can hold half a surrogate pair; JSON and Python can."""
    half = r'{"a": "\ud800"}'
    asked = {**JUDGE, "input": [{"role": "user", "content": "{{sample.output_json.a}}"}]}
    assert run(served, asked, half)["metadata"]["errors"]["model_grader_server_error"] is False
    assert run(served, {**CHECK, "input": "{{sample.output_json.a}}", "reference": r"\ud800"}, half)["reward"] == 1
    raising = {"type": "python", "name": "p", "source": "def grade(sample, item):\n    raise ValueError('\\ud800')"}
    errors = run(served, raising, half)["metadata"]["errors"]
    assert errors["python_grader_runtime_error_details"] == r"ValueError: \ud800"
